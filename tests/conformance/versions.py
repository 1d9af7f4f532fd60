"""Runs a script of this directory under another Keras 3, or on another backend, than its environment has.

    keras3/bin/python versions.py VERSION[-BACKEND] SCRIPT ARGUMENT...
    keras3/bin/python versions.py 3.5 matrix.py --every 4 --offset 1
    keras3/bin/python versions.py 3.15-torch matrix.py --every 8

The version is laid over the environment's packages (TensorFlow stays), in HOME/versions, from the pins below; a backend
lends its packages from its own environment (setup.sh torch jax). `matrix.py` then writes HOME/matrix/keras3.5 (or
keras3.15-torch), and `run.py --set matrix --sets keras3.5` converts it.
"""
import os
import subprocess
import sys

from kit_common import home

# The minor versions of Keras 3 between which files, classes or numbers changed most; the rest of each line is what that
# Keras needs beyond what today's needs.
PINS = {
    "3.0": ("keras==3.0.5", "dm-tree==0.1.10"),
    "3.1": ("keras==3.1.1",),
    "3.3": ("keras==3.3.3",),
    "3.5": ("keras==3.5.0",),
    "3.7": ("keras==3.7.0",),
    "3.9": ("keras==3.9.2",),
    "3.10": ("keras==3.10.0",),
    "3.12": ("keras==3.12.0",),
    "3.14": ("keras==3.14.1",),
}
TODAY = "3.15"
HERE = os.path.dirname(os.path.abspath(__file__))


def installed(version):
    """The directory that holds this version, made if need be; none for the one that the environment has."""
    if version == TODAY:
        return []
    folder = os.path.join(home(), "versions", version)
    mark = os.path.join(folder, "installed.txt")
    pins = PINS[version]
    if not os.path.exists(mark) or open(mark).read().split() != list(pins):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--upgrade", "--target", folder, *pins], check=True)
        with open(mark, "w") as file:
            file.write("\n".join(pins))
    return [folder]


def lent(backend):
    """Where the packages of a backend lie that is not TensorFlow."""
    if backend == "tensorflow":
        return []
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    env = "torch" if backend == "torch" else "jax"
    return [os.path.join(home(), env, "lib", python, "site-packages")]


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    version, _, backend = sys.argv[1].partition("-")
    backend = backend or "tensorflow"
    if version != TODAY and version not in PINS:
        sys.exit(f"Keras {version} is none of {', '.join([*PINS, TODAY])}")
    # The environment's own packages come before those that the backend's environment has of the same name.
    own = os.path.dirname(os.path.dirname(os.path.abspath(__import__("numpy").__file__)))
    paths = installed(version) + ([own] + lent(backend) if backend != "tensorflow" else [])
    environment = dict(os.environ, KERAS_BACKEND=backend, PYTHONPATH=os.pathsep.join(paths))
    script = os.path.join(HERE, sys.argv[2])
    os.execve(sys.executable, [sys.executable, script, *sys.argv[3:]], environment)


if __name__ == "__main__":
    main()
