"""How a case of op_cases.py is written down: as the canonical text of a graph of one node, and its arrays."""
import os
import zipfile

import numpy as np

CASES = []
RNG = np.random.default_rng(20240611)
DTYPES = {"float16": "f16", "float32": "f32", "float64": "f64", "int8": "i8", "int16": "i16", "int32": "i32",
          "int64": "i64", "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64", "bool": "bool"}


def dtype_of(array):
    """recast's name. Strings are numpy's `<U7`, as wide as the longest."""
    return "str" if array.dtype.kind == "U" else DTYPES[array.dtype.name]
# With no expectation given, numpy's function of the same name is the truth.
OBVIOUS = {"add": np.add, "sub": np.subtract}


class Raw(str):
    """Text that stands in the graph as it is."""


def raw(text):
    return Raw(text)


def dims(*sizes):
    return Raw("[" + ", ".join(f"<{size}>" for size in sizes) + "]")


def explicit(before, after):
    return [int(before), int(after)]


def normal(*shape):
    return RNG.normal(0, 1, shape).astype("float32")


def uniform(low, high, *shape):
    return RNG.uniform(low, high, shape).astype("float32")


def ints(low, high, *shape, dtype="int32"):
    return RNG.integers(low, high + 1, shape).astype(dtype)


def printed(value):
    if isinstance(value, Raw):
        return str(value)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(printed(item) for item in value) + "]"
    if isinstance(value, float):
        return repr(value)
    return str(int(value))


def type_of(array):
    return f"{dtype_of(array)}[{', '.join(map(str, array.shape))}]"


def case(name, op, attrs, inputs, outputs):
    """Inputs may be None (absent). Outputs of floating point are stored as float32, whatever computed them."""
    arrays = [None if x is None else np.asarray(x) for x in inputs]
    if outputs is None:
        if op == "where":
            outputs = [np.where(*arrays)]
        else:
            outputs = [OBVIOUS[attrs["function"]](*[x.astype("f8") for x in arrays])]
    outputs = [np.asarray(y) for y in outputs]
    outputs = [y.astype("float32") if y.dtype == np.float64 else y for y in outputs]
    assert not any(name == known for known, _, _ in CASES), name
    lines = [f'graph "{name}" {{']
    present = [x for x in arrays if x is not None]
    for index, x in enumerate(present):
        lines.append(f'  input %{index}: {type_of(x)} = "x{index}"')
    count = len(present)
    ids = iter(range(count))
    used = ", ".join("-" if x is None else f"%{next(ids)}" for x in arrays)
    made = ", ".join(f"%{count + i}: {type_of(y)}" for i, y in enumerate(outputs))
    shown = "".join(f" {key}={printed(value)}" for key, value in attrs.items())
    lines.append(f'  {made} = {op}({used}){shown} @ "{name}"')
    lines.extend(f'  output %{count + i} = "y{i}"' for i in range(len(outputs)))
    text = "\n".join([*lines, "}", ""])
    CASES.append((name, text, [*present, *outputs]))


def write(folder):
    with open(os.path.join(folder, "op_cases.txt"), "w") as file:
        file.write("# Written by tests/conformance/op_cases.py.\n\n")
        file.write("\n".join(text for _, text, _ in CASES))
    # One flat array a dtype, all cases after one another: the graphs say where each begins. Every member has the same
    # date, so that the file is the same on every run.
    flat = {}
    for _, _, arrays in CASES:
        for array in arrays:
            flat.setdefault(dtype_of(array), []).append(array.ravel())
    with zipfile.ZipFile(os.path.join(folder, "op_cases.npz"), "w", zipfile.ZIP_DEFLATED) as archive:
        for key, arrays in sorted(flat.items()):
            info = zipfile.ZipInfo(f"{key}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w") as member:
                np.lib.format.write_array(member, np.concatenate(arrays), version=(1, 0))
