"""The table of fixture cases: name -> how to build the model and what to feed it."""
from dataclasses import dataclass
from typing import Callable, Optional

from keras import Input, Model, Sequential

CASES = {}


@dataclass
class Case:
    build: Callable
    makers: tuple = ()              # per model input: (rng, shape, dtype) -> array, or None for the default
    only: Optional[int] = None      # the one major Keras version that has it
    save: str = "h5"                # h5 | weights (weights and .json apart) | legacy-weights
    every_output: bool = True       # False: an output that rightly doesn't differ between rows
    compiled: bool = False          # run through XLA: TensorFlow has no channels-first convolution on a CPU


def add(name, build, makers=(), **options):
    assert name not in CASES, name
    CASES[name] = Case(build, tuple(makers), **options)


def layer(name, make, *shapes, dtype="float32", makers=(), **options):
    """A model of one layer: make() is applied to one input per shape."""
    def build():
        inputs = [Input(shape, dtype=dtype) for shape in shapes]
        outputs = make()(inputs[0] if len(inputs) == 1 else inputs)
        return Model(inputs, outputs)
    add(name, build, makers, **options)


def stack(name, shape, *makes, dtype="float32", makers=(), **options):
    """A functional chain of layers."""
    def build():
        first = y = Input(shape, dtype=dtype)
        for make in makes:
            y = make()(y)
        return Model(first, y)
    add(name, build, makers, **options)


def sequence(name, shape, *makes, dtype="float32", makers=(), **options):
    """A Sequential of layers."""
    def build():
        return Sequential([Input(shape, dtype=dtype)] + [make() for make in makes])
    add(name, build, makers, **options)
