"""Makes tests/fixtures/hostile: HDF5 files that no Keras wrote, each wrong in one way.

    keras3/bin/python hostile_fixtures.py       (needs h5py and numpy alone)
"""
import json
import os
import zipfile

import h5py
import numpy as np

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "hostile")
KERNEL = np.arange(15, dtype="float32").reshape(5, 3)
BIAS = np.arange(3, dtype="float32")


def dense(name, **options):
    return {"class_name": "Dense", "config": {"name": name, "units": 3, "activation": "linear", "use_bias": True, **options}}


def sequential(layers=None):
    first = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 5], "dtype": "float32", "name": "x"}}
    return {"class_name": "Sequential", "config": {"name": "m", "layers": [first] + (layers or [dense("dense")])}}


def start(name, config=None, **libver):
    file = h5py.File(os.path.join(OUT, f"{name}.h5"), "w", **libver)
    file.attrs["keras_version"] = b"2.15.0"
    file.attrs["backend"] = b"tensorflow"
    file.attrs["model_config"] = config if isinstance(config, bytes) else json.dumps(config or sequential()).encode()
    weights = file.create_group("model_weights")
    weights.attrs["layer_names"] = [b"dense"]
    group = weights.create_group("dense")
    group.attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
    return file, group.create_group("dense")


def plain(group, kernel=KERNEL):
    group["kernel:0"] = kernel
    group["bias:0"] = BIAS


def with_kernel(name, make, **libver):
    """A file whose kernel is made by make(file, group)."""
    file, group = start(name, **libver)
    group["bias:0"] = BIAS
    make(file, group)
    file.close()


def external_storage(file, group):
    group.create_dataset("kernel:0", (5, 3), "float32", external=[("/etc/hostname", 0, 60)])


def virtual(file, group):
    layout = h5py.VirtualLayout((5, 3), "float32")
    layout[...] = h5py.VirtualSource("other.h5", "kernel", (5, 3))
    group.create_virtual_dataset("kernel:0", layout)


def soft_link(file, group):
    file["elsewhere"] = KERNEL
    group["kernel:0"] = h5py.SoftLink("/elsewhere")


def external_link(file, group):
    group["kernel:0"] = h5py.ExternalLink("other.h5", "/kernel")


def never_written(file, group):
    group.create_dataset("kernel:0", (5, 3), "float32")


def shape_bomb(file, group):
    group.create_dataset("kernel:0", (1 << 20, 1 << 20), "float32", chunks=(1 << 10, 1 << 10), compression="gzip")


def tensor_bomb(file, group):
    """Declares 1 GB, within the bound on one array, and stores one chunk of it."""
    data = group.create_dataset("kernel:0", (1 << 14, 1 << 14), "float32", chunks=(1 << 10, 1 << 10), compression="gzip")
    data[:1, :1] = 1


def odd_type(file, group):
    group.create_dataset("kernel:0", (5, 3), np.dtype([("re", "f4"), ("im", "f4")]))


def circle(file, group):
    group["kernel:0"] = KERNEL
    group["again"] = file["model_weights"]


def leftover(file, group):
    plain_kernel(file, group)
    group["extra:0"] = BIAS


def plain_kernel(file, group):
    group["kernel:0"] = KERNEL


def big_endian(file, group):
    group["kernel:0"] = KERNEL.astype(">f4")


def compressed(file, group):
    group.create_dataset("kernel:0", data=KERNEL, chunks=(2, 2), compression="gzip", shuffle=True)


def missing(file, group):
    del group  # the kernel that weight_names lists is nowhere


def configs():
    """Files that are right but for their architecture."""
    nested = b"[" * 200 + b"]" * 200
    yield "json_deep", nested
    yield "json_broken", b'{"class_name": "Sequential", "config": '
    yield "no_layers", {"class_name": "Sequential", "config": {"name": "m", "layers": []}}
    yield "subclassed", {"class_name": "MyModel", "config": {"units": 3}}
    yield "same_names", sequential([dense("dense"), dense("dense")])
    yield "never_built", {"class_name": "Sequential", "config": {"name": "m", "layers": [dense("dense")]}}
    inner = {**dense("dense"), "name": "dense", "inbound_nodes": [[["dense", 0, 0, {}]]]}
    first = {**sequential()["config"]["layers"][0], "name": "x", "inbound_nodes": []}
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["dense", 0, 0]]}
    yield "circle_of_calls", {"class_name": "Functional", "config": {"name": "m", "layers": [first, inner], **ends}}
    stranger = {**inner, "inbound_nodes": [[["nobody", 0, 0, {}]]]}
    yield "unknown_layer", {"class_name": "Functional", "config": {"name": "m", "layers": [first, stranger], **ends}}
    beyond = {**inner, "inbound_nodes": [[["x", 0, 0, {}]]]}
    ends = {**ends, "output_layers": [["dense", 7, 0]]}
    yield "call_beyond", {"class_name": "Functional", "config": {"name": "m", "layers": [first, beyond], **ends}}


def archives():
    """`.keras` files made of a sound one."""
    sound = os.path.join(OUT, "..", "keras_v3", "3", "shared_dense.keras")
    with zipfile.ZipFile(sound) as file:
        members = {name: file.read(name) for name in file.namelist()}

    def write(name, members, compression):
        with zipfile.ZipFile(os.path.join(OUT, f"{name}.keras"), "w", compression) as file:
            for member, data in members.items():
                file.writestr(zipfile.ZipInfo(member), data, compression)

    without = {name: data for name, data in members.items() if name != "model.weights.h5"}
    write("packed", members, zipfile.ZIP_DEFLATED)
    write("no_weights", without, zipfile.ZIP_STORED)
    write("npz_weights", {**without, "model.weights.npz": b"x"}, zipfile.ZIP_STORED)
    write("no_config", {name: data for name, data in members.items() if name != "config.json"}, zipfile.ZIP_STORED)
    write("member_bomb", {**members, "config.json": b" " * (65 << 20)}, zipfile.ZIP_DEFLATED)


def main():
    os.makedirs(OUT, exist_ok=True)
    for make in (external_storage, virtual, soft_link, external_link, never_written, shape_bomb, tensor_bomb, odd_type,
                 circle, leftover, big_endian, compressed, missing):
        with_kernel(make.__name__, make)
    with_kernel("soft_link_latest", soft_link, libver="latest")
    for name, config in configs():
        file, group = start(name, config)
        plain(group)
        file.close()
    file, group = start("listed_twice")
    plain(group)
    file["model_weights/dense"].attrs["weight_names"] = [b"dense/kernel:0", b"dense/kernel:0", b"dense/bias:0"]
    file.close()
    file, group = start("soft_link_group")
    plain(group)
    file.move("model_weights", "hidden")
    file["model_weights"] = h5py.SoftLink("/hidden")
    file.close()
    with h5py.File(os.path.join(OUT, "no_keras.h5"), "w") as file:
        file["x"] = BIAS
    with h5py.File(os.path.join(OUT, "weights_alone.h5"), "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        group = file.create_group("dense")
        group.attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
        plain(group.create_group("dense"))
    archives()


if __name__ == "__main__":
    main()
