"""The old frameworks that wrote the files still in use, and how to have them: one table for both.

    python3 environments.py [--python DIR] NAME...      makes those environments; without names, lists all

An environment is a Python with one TensorFlow (and Theano beside the old ones); a standalone Keras is a directory of its
own that goes in front of it, so that five of them share one TensorFlow. All lie in RECAST_CONFORMANCE_HOME (default
~/.cache/recast-conformance) as old-NAME. Pythons are looked for as DIR/VERSION*/bin/python (default ~/.pyenv/versions).
"""
import argparse
import glob
import os
import subprocess
import sys
from collections import namedtuple

# What each Python has; the pins are what those versions need and do not say themselves.
BEFORE_2_4 = "h5py==2.10.0 protobuf==3.20.3"
PYTHONS = {
    "tf0.12": ("2.7", "tensorflow==0.12.1 theano==0.9.0 numpy==1.12.1 scipy==0.19.1 h5py==2.7.1 protobuf==3.1.0 "
                      "PyYAML==3.13 six==1.16.0"),
    "tf1.12": ("3.6", "tensorflow==1.12.3 numpy==1.16.6 scipy==1.5.4 PyYAML==5.4.1 six==1.16.0 "
                     "h5py==2.10.0 protobuf==3.19.6"),
    "tf1.13": ("3.7", "tensorflow==1.13.2 numpy==1.16.6 scipy==1.7.3 PyYAML==5.4.1 six==1.16.0 " + BEFORE_2_4),
    "tf1.14": ("3.7", "tensorflow==1.14.0 numpy==1.16.6 scipy==1.7.3 PyYAML==5.4.1 six==1.16.0 " + BEFORE_2_4),
    "tf1.15": ("3.7", "tensorflow==1.15.5 theano==1.0.5 numpy==1.18.5 scipy==1.7.3 PyYAML==5.4.1 six==1.16.0 "
                      + BEFORE_2_4),
    "tf2.0": ("3.7", "tensorflow==2.0.4 numpy==1.18.5 " + BEFORE_2_4),
    "tf2.2": ("3.8", "tensorflow-cpu==2.2.3 numpy==1.18.5 " + BEFORE_2_4),
    "tf2.4": ("3.8", "tensorflow-cpu==2.4.4 numpy==1.19.5 protobuf==3.20.3"),
    "tf2.6": ("3.9", "tensorflow-cpu==2.6.5 keras==2.6.0 numpy==1.19.5 protobuf==3.19.6"),
    "tf2.9": ("3.10", "tensorflow-cpu==2.9.3 numpy==1.23.5"),
    "tf2.11": ("3.10", "tensorflow-cpu==2.11.0 numpy==1.23.5"),
    "tf2.13": ("3.11", "tensorflow-cpu==2.13.1 numpy==1.24.3"),
}

Version = namedtuple("Version", "python keras backend")
# `keras` is the standalone one in front; without it, it is tf.keras.
VERSIONS = {
    "keras1.0.8-theano": Version("tf0.12", "1.0.8", "theano"),
    "keras1.1.2-theano": Version("tf0.12", "1.1.2", "theano"),
    "keras1.1.2-tensorflow": Version("tf0.12", "1.1.2", "tensorflow"),
    "keras1.2.2-tensorflow": Version("tf0.12", "1.2.2", "tensorflow"),
    "keras2.0.9-tensorflow": Version("tf1.13", "2.0.9", "tensorflow"),
    "keras2.1.6-theano": Version("tf1.15", "2.1.6", "theano"),
    "keras2.1.6-tensorflow": Version("tf1.13", "2.1.6", "tensorflow"),
    "keras2.2.4-theano": Version("tf1.15", "2.2.4", "theano"),
    "keras2.2.4-tensorflow": Version("tf1.15", "2.2.4", "tensorflow"),
    "keras2.3.1-theano": Version("tf1.15", "2.3.1", "theano"),
    "keras2.3.1-tensorflow": Version("tf1.15", "2.3.1", "tensorflow"),
    "tf1.12": Version("tf1.12", "", "tensorflow"),
    "tf1.13": Version("tf1.13", "", "tensorflow"),
    "tf1.14": Version("tf1.14", "", "tensorflow"),
    "tf1.15": Version("tf1.15", "", "tensorflow"),
    "tf2.0": Version("tf2.0", "", "tensorflow"),
    "tf2.2": Version("tf2.2", "", "tensorflow"),
    "tf2.4": Version("tf2.4", "", "tensorflow"),
    "tf2.6": Version("tf2.6", "", "tensorflow"),
    "tf2.9": Version("tf2.9", "", "tensorflow"),
    "tf2.11": Version("tf2.11", "", "tensorflow"),
    "tf2.13": Version("tf2.13", "", "tensorflow"),
}


def home():
    default = os.path.join(os.path.expanduser("~"), ".cache", "recast-conformance")
    return os.environ.get("RECAST_CONFORMANCE_HOME", default)


def python_of(version):
    return os.path.join(home(), "old-" + version.python, "bin", "python")


def keras_of(version):
    """The directory that goes in front of the Python's own packages, or ''."""
    return os.path.join(home(), "old-keras" + version.keras) if version.keras else ""


def pip(python, *words):
    subprocess.check_call([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir",
                           *words])


def make(version, folder):
    number, pins = PYTHONS[version.python]
    place = os.path.dirname(os.path.dirname(python_of(version)))
    if not os.path.exists(os.path.join(place, "made")):
        found = glob.glob(os.path.join(folder, number + ".*", "bin", "python"))
        if not found:
            raise SystemExit("no Python %s in %s" % (number, folder))
        if number == "2.7":
            pip(found[0], "--user", "virtualenv==20.4.7")
        subprocess.check_call([found[0], "-m", "virtualenv" if number == "2.7" else "venv", place])
        if number == "3.6":
            # Its own pip knows no wheels of today and would compile for an hour.
            pip(python_of(version), "--upgrade", "pip==21.3.1")
        pip(python_of(version), *pins.split())
        open(os.path.join(place, "made"), "w").close()
    front = keras_of(version)
    if front and not os.path.exists(front):
        pip(python_of(version), "--no-deps", "--target", front, "keras==" + version.keras)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=os.path.expanduser("~/.pyenv/versions"))
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    for name in args.names:
        make(VERSIONS[name], args.python)
        print(name, python_of(VERSIONS[name]), keras_of(VERSIONS[name]))
    if not args.names:
        print("\n".join(VERSIONS))


if __name__ == "__main__":
    sys.exit(main())
