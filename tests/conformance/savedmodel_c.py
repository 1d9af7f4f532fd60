"""The written SavedModels through TensorFlow's C API, as programs in C, C++ and Go load them: no TensorFlow in Python.

    keras2/bin/python savedmodel.py convert --to DIR ...
    keras2/bin/python savedmodel_c.py DIR                        (and again with keras3/bin/python)

TF_LoadSessionFromSavedModel, which is the loader that TensorFlow Serving has, too, restores the variables; each
signature then gets the recorded batch by name with TF_SessionRun. What the loader demands (tag, restore op) and what
Serving demands (method name, dtype and shape of each tensor) is what these calls and `served` look at. With `--cli`
`saved_model_cli` shows one of so many, and runs it.
Exit code 1 if anything was not as expected, or if there was nothing to check.
"""
import argparse
import ctypes
import glob
import importlib.util
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

import savedmodel
from savedmodel import Wrong

# Numbers of types.proto.
DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 5: np.int16, 6: np.int8, 9: np.int64, 10: np.bool_,
          17: np.uint16, 19: np.float16, 22: np.uint32, 23: np.uint64}
BFLOAT16 = 14
SERVING = {"tensorflow/serving/predict"}
# ConfigProto: one thread within and between ops.
ONE_THREAD = b"\x10\x01\x28\x01"


# --- protocol buffers, as far as a signature goes -----------------------------------------------------------------
def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def fields(data):
    """Each field of a message: number and value (bytes of a nested message or a text)."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        else:
            size, at = varint(data, at) if kind == 2 else (8 if kind == 1 else 4, at)
            value, at = data[at:at + size], at + size
        yield key >> 3, value


def every(data, number):
    return [value for field, value in fields(data) if field == number]


def first(data, number, default=b""):
    return next(iter(every(data, number)), default)


def entries(data, number):
    """A map with texts as keys."""
    return {first(entry, 1).decode(): first(entry, 2) for entry in every(data, number)}


def signed(number):
    return number - (1 << 64) if number >> 63 else number


def tensor_info(data):
    """Name, number of the dtype, and sizes (-1: free; None: of any rank)."""
    shape = first(data, 3)
    sizes = None if first(shape, 3, 0) else [signed(first(dim, 1, 0)) for dim in every(shape, 2)]
    return first(data, 1).decode(), first(data, 2, 0), sizes


def signatures(meta_graph):
    """{name: (inputs, outputs, method)} of a MetaGraphDef."""
    found = {}
    for name, signature in entries(meta_graph, 5).items():
        sides = [{key: tensor_info(info) for key, info in entries(signature, side).items()} for side in (1, 2)]
        found[name] = (*sides, first(signature, 3).decode())
    return found


# --- the C API ------------------------------------------------------------------------------------------------------
class Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("free", ctypes.c_void_p)]


class Output(ctypes.Structure):
    _fields_ = [("op", ctypes.c_void_p), ("index", ctypes.c_int)]


class Library:
    def __init__(self):
        # Where it lies, without importing it.
        home = importlib.util.find_spec("tensorflow").submodule_search_locations[0]
        found = {part: glob.glob(os.path.join(home, f"libtensorflow_{part}.so*")) for part in ("framework", "cc")}
        for part in ("framework", "cc"):
            self.api = ctypes.CDLL(found[part][0], mode=ctypes.RTLD_GLOBAL)
        pointers = ("TF_NewStatus TF_NewGraph TF_NewBuffer TF_NewSessionOptions TF_LoadSessionFromSavedModel "
                    "TF_Version TF_GraphOperationByName TF_AllocateTensor TF_TensorData TF_Message")
        for name in pointers.split():
            getattr(self.api, name).restype = ctypes.c_void_p
        self.api.TF_Dim.restype = ctypes.c_int64
        self.api.TF_TensorByteSize.restype = ctypes.c_size_t
        self.version = ctypes.string_at(self.api.TF_Version()).decode()

    def __getattr__(self, name):
        """A function whose addresses and lengths are all 64 bits wide: numbers are passed as such."""
        function = getattr(self.api, "TF_" + name)
        wide = lambda value: ctypes.c_uint64(value or 0) if value is None or isinstance(value, int) else value
        return lambda *args: function(*[wide(arg) for arg in args])

    def checked(self, function, *args):
        """Calls something whose last argument is a status."""
        status = self.NewStatus()
        result = getattr(self, function)(*args, status)
        code, message = self.GetCode(status), ctypes.string_at(self.Message(status)).decode(errors="replace")
        self.DeleteStatus(status)
        if code:
            raise Wrong(f"{function}: {message}")
        return result


class Session:
    """A loaded directory."""

    def __init__(self, library, path):
        self.library, self.graph = library, library.NewGraph()
        options, meta = library.NewSessionOptions(), library.NewBuffer()
        library.checked("SetConfig", options, ONE_THREAD, len(ONE_THREAD))
        tags = (ctypes.c_char_p * 1)(b"serve")
        place = (path.encode(), tags, 1, self.graph, meta)
        self.session = library.checked("LoadSessionFromSavedModel", options, None, *place)
        buffer = Buffer.from_address(meta)
        self.signatures = signatures(ctypes.string_at(buffer.data, buffer.length))
        library.DeleteBuffer(meta)
        library.DeleteSessionOptions(options)

    def output(self, name):
        op, _, index = name.partition(":")
        found = self.library.GraphOperationByName(self.graph, op.encode())
        if not found:
            raise Wrong(f"no op called {op}")
        return Output(found, int(index or 0))

    def run(self, feeds, fetches):
        """Arrays for tensor names `fetches`, given {tensor name: array}."""
        library = self.library
        given = (Output * len(feeds))(*[self.output(name) for name in feeds])
        tensors = [self.tensor(array) for array in feeds.values()]
        values = (ctypes.c_void_p * len(feeds))(*tensors)
        asked = (Output * len(fetches))(*[self.output(name) for name in fetches])
        made = (ctypes.c_void_p * len(fetches))()
        results = (asked, made, len(fetches))
        library.checked("SessionRun", self.session, None, given, values, len(feeds), *results, None, 0, None)
        results = [self.array(tensor) for tensor in made]
        for tensor in [*tensors, *made]:
            library.DeleteTensor(tensor)
        return results

    def tensor(self, array):
        dtype = next(number for number, kind in DTYPES.items() if array.dtype == kind)
        array = np.ascontiguousarray(array)
        sizes = (ctypes.c_int64 * array.ndim)(*array.shape)
        tensor = self.library.AllocateTensor(dtype, sizes, array.ndim, array.nbytes)
        ctypes.memmove(self.library.TensorData(tensor), array.ctypes.data, array.nbytes)
        return tensor

    def array(self, tensor):
        library = self.library
        kind = library.TensorType(tensor)
        shape = [library.Dim(tensor, axis) for axis in range(library.NumDims(tensor))]
        data = ctypes.string_at(library.TensorData(tensor), library.TensorByteSize(tensor))
        if kind == BFLOAT16:
            # The upper half of a float32.
            return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape)
        if kind not in DTYPES:
            raise Wrong(f"an output of type {kind}")
        return np.frombuffer(data, DTYPES[kind]).reshape(shape)

    def close(self):
        self.library.checked("CloseSession", self.session)
        self.library.checked("DeleteSession", self.session)
        self.library.DeleteGraph(self.graph)


# --- checking -------------------------------------------------------------------------------------------------------
def served(signature):
    """What TensorFlow Serving asks of a signature before it answers a request."""
    inputs, outputs, method = signature
    if method not in SERVING:
        raise Wrong(f"method '{method}'")
    for key, (name, dtype, sizes) in [*inputs.items(), *outputs.items()]:
        if not name or not dtype or sizes is None:
            raise Wrong(f"'{key}' is {name or 'nothing'} of type {dtype}, sizes {sizes}")


def check_row(library, row, names):
    if names is None:
        raise Wrong("its inputs and outputs are not known in order: savedmodel.py check has to agree first")
    with np.load(row["golden"]) as file:
        arrays = {key: file[key] for key in file.files}
    xs, ys = [[arrays[f"{side}{i}"] for i in range(sum(key[0] == side for key in arrays))] for side in "xy"]
    tolerance, largest = savedmodel.tolerances(row["artifact"]), 0.0
    session = Session(library, row["path"])
    if not {"serve", "serving_default"} <= set(session.signatures):
        raise Wrong(f"signatures {sorted(session.signatures)}")
    for signature in ("serving_default", "serve"):
        inputs, outputs, method = session.signatures[signature]
        served((inputs, outputs, method))
        if sorted(inputs) != sorted(names["inputs"]) or sorted(outputs) != sorted(names["outputs"]):
            raise Wrong(f"inputs {sorted(inputs)}, outputs {sorted(outputs)}")
        feeds = {inputs[name][0]: x.astype(DTYPES[inputs[name][1]]) for name, x in zip(names["inputs"], xs)}
        got = session.run(feeds, [outputs[name][0] for name in names["outputs"]])
        for name, g, w in zip(names["outputs"], got, ys):
            largest = max(largest, savedmodel.difference(f"{signature} output {name}", g, w, tolerance))
    session.close()
    return largest


def command_line(row, names):
    """`saved_model_cli show` names the signature's tensors, `run` gives the recorded numbers."""
    cli = os.path.join(os.path.dirname(sys.executable), "saved_model_cli")
    chosen = ["--dir", row["path"], "--tag_set", "serve", "--signature_def", "serving_default"]
    ask = lambda *words: subprocess.run([cli, *words], capture_output=True, text=True, check=False)
    shown = ask("show", *chosen)
    wanted = [f"inputs['{name}']" for name in names["inputs"]] + [f"outputs['{name}']" for name in names["outputs"]]
    missing = [text for text in wanted if text not in shown.stdout]
    if missing or "Method name is: tensorflow/serving/predict" not in shown.stdout:
        raise Wrong(f"saved_model_cli show lacks {missing or 'the method'}: {shown.stderr[-200:]}")
    with tempfile.TemporaryDirectory() as work:
        feeds = "".join(f"{name}={row['golden']}[x{i}];" for i, name in enumerate(names["inputs"]))
        done = ask("run", *chosen, "--inputs", feeds, "--outdir", work)
        if done.returncode:
            raise Wrong(f"saved_model_cli run: {done.stderr[-300:]}")
        with np.load(row["golden"]) as golden:
            for i, name in enumerate(names["outputs"]):
                got = np.load(os.path.join(work, name + ".npy"))
                tolerance = savedmodel.tolerances(row["artifact"])
                savedmodel.difference(f"saved_model_cli output {name}", got, golden[f"y{i}"], tolerance)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir")
    parser.add_argument("--only", action="append", default=[], help="only models whose name contains this")
    parser.add_argument("--cli", type=int, default=0, metavar="N", help="one of N models through saved_model_cli, too")
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    with open(os.path.join(args.dir, "rows.json")) as file:
        rows = [row for row in json.load(file) if row["path"] and row["golden"]]
    with open(os.path.join(args.dir, "names.json")) as file:
        names = json.load(file)
    rows = [row for row in rows if not args.only or any(part in row["model"] for part in args.only)]
    library, wrong, shown, largest = Library(), 0, 0, (0.0, "")
    for number, row in enumerate(rows):
        known = names.get(row["model"])
        try:
            largest = max(largest, (check_row(library, row, known), row["model"]))
            if args.cli and number % args.cli == 0:
                command_line(row, known)
                shown += 1
        except Wrong as error:
            wrong += 1
            print(f"WRONG {row['model']:44} {' '.join(str(error).split())[:300]}", flush=True)
    print(f"TensorFlow {library.version}, C API: {len(rows)} models, {shown} through saved_model_cli too; "
          f"largest absolute error {largest[0]:.2e} ({largest[1]}); not as expected: {wrong}")
    return 0 if rows and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
