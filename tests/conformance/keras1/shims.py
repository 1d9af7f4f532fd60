"""What Keras 1.2.2 and Theano 1.0.5 use, and today's Python and SciPy call otherwise. Import before keras.

    ../setup.sh keras1
"""
import collections
import collections.abc
import inspect
import os
import sys
import types
import warnings

os.environ["KERAS_BACKEND"] = "theano"
# No compiler: each op in its own Python form.
os.environ.setdefault("THEANO_FLAGS", "cxx=,device=cpu,floatX=float32,blas.ldflags=,linker=py,optimizer=None")
warnings.simplefilter("ignore")
for name in dir(collections.abc):
    if name[0].isupper() and not hasattr(collections, name):
        setattr(collections, name, getattr(collections.abc, name))
if not hasattr(inspect, "getargspec"):
    ArgSpec = collections.namedtuple("ArgSpec", "args varargs keywords defaults")
    inspect.getargspec = lambda function: ArgSpec(*inspect.getfullargspec(function)[:4])
from scipy.signal import _signaltools, _sigtools  # noqa: E402  after the environment is set

for old, new, names in (("scipy.signal.signaltools", _signaltools, ("_valfrommode", "_bvalfromboundary", "convolve")),
                        ("scipy.signal.sigtools", _sigtools, ("_convolve2d",))):
    module = types.ModuleType(old)
    for name in names:
        setattr(module, name, getattr(new, name))
    sys.modules[old] = module
# The loop in Python, instead of the one that wants to be compiled.
sys.modules["theano.scan_module.scan_perform_ext"] = None


class Tuples:
    """numpy refuses the lists of slices that Theano's pooling indexes with: they are made tuples on import."""

    @staticmethod
    def patch():
        from theano.tensor.signal import pool
        source = inspect.getsource(pool.Pool.perform)
        if "yk[[" in source:
            source = source.replace("yk[[region_slices[i][r[i]] for i in xrange(nd)]]",
                                    "yk[tuple(region_slices[i][r[i]] for i in xrange(nd))]")
            space = dict(vars(pool))
            exec("if True:\n" + source, space)
            pool.Pool.perform = space["perform"]


def ready():
    import theano.ifelse  # noqa: F401  Keras 1 takes it for granted
    Tuples.patch()
