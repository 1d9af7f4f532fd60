#!/bin/sh
# Makes the Python environments of the conformance run, outside the repository.
#   setup.sh [keras3] [keras2] [keras1] [peer] [torch] [jax]        default: keras3 keras2
# RECAST_CONFORMANCE_HOME: where they go (default ~/.cache/recast-conformance); PYTHON: a Python 3.11.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=${RECAST_CONFORMANCE_HOME:-$HOME/.cache/recast-conformance}
python=${PYTHON:-python3.11}
[ $# -gt 0 ] || set -- keras3 keras2
mkdir -p "$home"
for env in "$@"; do
    pins=$here/requirements-$env.txt
    [ -f "$pins" ] || { echo "setup.sh: no such environment: $env" >&2; exit 2; }
    [ -x "$home/$env/bin/python" ] || "$python" -m venv "$home/$env"
    if ! cmp -s "$pins" "$home/$env/installed.txt"; then
        "$home/$env/bin/pip" install --quiet --disable-pip-version-check -r "$pins"
        # Packages whose own lists of requirements can't be met any more.
        bare=$(sed -n 's/^# bare: //p' "$pins")
        # shellcheck disable=SC2086  several words
        [ -z "$bare" ] || "$home/$env/bin/pip" install --quiet --disable-pip-version-check --no-deps \
            --no-build-isolation $bare
        cp "$pins" "$home/$env/installed.txt"
    fi
    echo "$env: $home/$env/bin/python"
done
