"""How the tables of `layer_cases.py` are written."""
from dataclasses import dataclass, field
from typing import Callable, Optional

import numpy as np


@dataclass
class Case:
    name: str
    make: Callable
    inputs: tuple
    masks: tuple = ()
    kwargs: dict = field(default_factory=dict)
    free: tuple = ((0,),)           # per input: axes that may be symbolic
    only: Optional[int] = None      # the one major version that has it
    weights: dict = field(default_factory=dict)
    takes_list: bool = False
    says_training: bool = False
    class_name: str = ""            # an alias to store in the place of the class's own name
    loose: bool = False             # float16 arithmetic
    tolerance: float = 0.0          # where Keras itself is inexact
    expression: str = ""            # what a configuration says that a Lambda computes


class Table:
    """Collects cases; names are the given one and a number, so that a table reads as a list."""

    def __init__(self):
        self.cases, self.counts = [], {}

    def __call__(self, name, make, *inputs, **options):
        number = self.counts[name] = self.counts.get(name, 0) + 1
        options.setdefault("takes_list", len(inputs) > 1)
        if "free" in options:
            options["free"] = tuple(tuple(axes) for axes in options["free"])
        self.cases.append(Case(f"{name}_{number}", make, inputs, **options))


def ints(shape, low=0, high=8, dtype="int32"):
    return lambda rng: rng.integers(low, high, shape).astype(dtype)


def floats(shape, low=-3.0, high=3.0, dtype="float32"):
    return lambda rng: (np.round(rng.uniform(low, high, shape) * 64) / 64).astype(dtype)


def given(values, dtype="float32"):
    return lambda rng: np.asarray(values, dtype)


def mask(*rows):
    """`mask("110", "101")`: a boolean mask, one text a row."""
    return np.array([[c == "1" for c in row] for row in rows])
