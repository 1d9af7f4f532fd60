"""Writes plugins/keras-layers/src/lambda/known.txt and tests/lambda/compiled.txt beside it: the digests of well-known
functions, compiled by every Python given.

    python3 lambda_known.py python2.7 python3.6 .. python3.13

It needs no Keras. Each Python runs lambda_compile.py, which compiles the sources and digests their code; the plugin
digests what it reads from a model. Digests leave out the values of numbers: a row says which constant is which.
"""
import collections
import itertools
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PLUGIN = os.path.join(HERE, "..", "..", "plugins", "keras-layers")
# Letters that stand for a number in sources and expressions; each is compiled with a number of its own, of both signs.
LETTERS = "abc"
# Compiled functions that the plugin's test reads, of every Python.
SAMPLES = ["lambda x: x / a", "lambda x: x / a - b", "lambda x: (x - a) / a", "lambda x: -x", "lambda x: x[:, a]",
           "lambda x: x[..., ::a]", "lambda x: K.l2_normalize(x, axis=a)", "lambda x: tf.expand_dims(x, a)",
           "lambda x: tf.keras.backend.mean(x, axis=[a, b])", "lambda x: x[0] + x[1] * scale",
           "lambda x, scale: x[0] + x[1] * scale", "def f(x, scale): 'd'; return x * scale", "lambda x, i=1: x[:, i]",
           "lambda x: tf.cast(x, 'float32') / a", "lambda x: keras.ops.mean(x, axis=a)",
           "lambda x: K.permute_dimensions(x, (0, 2, 1))"]

K = ["K", "keras.backend", "tf.keras.backend", "backend"]
OPS = ["ops", "keras.ops"]
KNOWN = collections.OrderedDict()


def known(expression, *bodies, arguments="x"):
    KNOWN.setdefault(expression, []).extend(f"lambda {arguments}: {body}" for body in bodies)


def definition(expression, arguments, body):
    KNOWN.setdefault(expression, []).extend([f"def f({arguments}): {body}", f"def f({arguments}): 'd'; {body}"])


def arithmetic():
    for body in ["x", "-x", "x * x", "x / a", "x * a", "a * x", "x + a", "a + x", "x - a", "a - x", "a / x", "x ** a",
                 "x // a", "x % a", "x / a - b", "x / a + b", "x * a + b", "x * a - b", "a * x + b", "a * x - b",
                 "a - x * b", "a - x / b", "(x - a) / b", "(x - a) / a", "(x - a) * b", "(x + a) / b", "(x + a) / a",
                 "(x + a) * b", "(a - x) / b", "(a - x) * b", "x / a * b", "x * a / b", "x / a * b - c",
                 "x / a * b + c", "x * a / b - c", "(x / a - b) * c", "(x / a - b) / c", "(x / a - b) / b",
                 "(x + a) / b * c", "(x + a) * b / c", "(x - a) / b * c", "x / a - a", "x * a - a", "x * a + a"]:
        known(body, body)
    for cast in ["tf.cast(x, tf.float32)", "tf.cast(x, dtype=tf.float32)", "tf.cast(x, 'float32')",
                 *(f"{k}.cast(x, 'float32')" for k in K[:3] + OPS)]:
        for around in ["{}", "{} / a", "{} / a - b", "({} - a) / b", "({} - a) / a", "{} * a"]:
            known(around.format("float32(x)"), around.format(cast))
    for name, sign in [("divide", "/"), ("multiply", "*"), ("add", "+"), ("subtract", "-")]:
        known(f"x {sign} a", *(f"{module}.{name}(x, a)" for module in ["tf", "tf.math"] + OPS))


def elementwise():
    everywhere = ["abs", "exp", "log", "square", "round", "sign", "tanh", "sigmoid", "relu", "softplus", "softsign"]
    for name in everywhere:
        known(f"{name}(x)", *(f"{k}.{name}(x)" for k in K + OPS))
    # The backend's root of a negative number is 0.
    known("sqrt(maximum(x, 0))", *(f"{k}.sqrt(x)" for k in K))
    known("sqrt(x)", *(f"{k}.sqrt(x)" for k in OPS + ["tf", "tf.math"]))
    for name in ["abs", "exp", "log", "square", "round", "sign", "tanh", "sigmoid"]:
        known(f"{name}(x)", *([f"tf.{name}(x)"] if name != "log" else []), f"tf.math.{name}(x)")
    for name in ["relu", "sigmoid", "tanh", "softplus", "softsign"]:
        known(f"{name}(x)", f"tf.nn.{name}(x)")
        known(f"{name}(x)", *(f"{k}.{name}(x)" for k in ["activations", "keras.activations", "tf.keras.activations"]))
    known("rsqrt(x)", "tf.math.rsqrt(x)", "ops.rsqrt(x)")
    known("reciprocal(x)", "tf.math.reciprocal(x)", "ops.reciprocal(x)")
    known("x", "tf.identity(x)", "tf.stop_gradient(x)", *(f"{k}.stop_gradient(x)" for k in K + OPS))
    for prefix in K + OPS + ["tf"]:
        known("clip(x, a, b)", f"{prefix}.{'clip_by_value' if prefix == 'tf' else 'clip'}(x, a, b)")
        known("maximum(x, a)", f"{prefix}.maximum(x, a)")
        known("minimum(x, a)", f"{prefix}.minimum(x, a)")
        name = "nn.softmax" if prefix == "tf" else "softmax"
        known("softmax(x, axis=-1)", f"{prefix}.{name}(x)")
        known("softmax(x, axis=a)", f"{prefix}.{name}(x, axis=a)")


def over_axes():
    for name in ["mean", "sum", "max", "min", "prod"]:
        tf = [f"tf.reduce_{name}", f"tf.math.reduce_{name}"]
        for call in [f"{k}.{name}" for k in K + OPS] + tf:
            known(f"{name}(x, axis=a)", f"{call}(x, axis=a)", f"{call}(x, a)")
            known(f"{name}(x, axis=a, keepdims=True)", f"{call}(x, axis=a, keepdims=True)")
            if name in ("mean", "sum", "max"):
                known(f"{name}(x, axis=[a, b])", f"{call}(x, axis=[a, b])", f"{call}(x, [a, b])")
                known(f"{name}(x, axis=[1, 2])", f"{call}(x, axis=(1, 2))")
                known(f"{name}(x, axis=[a, b], keepdims=True)", f"{call}(x, axis=[a, b], keepdims=True)")
    normalize = [f"{k}.l2_normalize" for k in K + ["tf", "tf.nn", "tf.math", "tf.linalg"]]
    for call in normalize:
        known("l2_normalize(x, axis=a)", f"{call}(x, axis=a)", f"{call}(x, a)")
    known("l2_normalize(x, axis=a)", "tf.nn.l2_normalize(x, dim=a)")
    for k in K + OPS + ["tf"]:
        known("expand_dims(x, axis=a)", f"{k}.expand_dims(x, axis=a)", f"{k}.expand_dims(x, a)")
        known("squeeze(x, axis=a)", f"{k}.squeeze(x, axis=a)", f"{k}.squeeze(x, a)")
    known("expand_dims(x, axis=-1)", *(f"{k}.expand_dims(x)" for k in K))
    known("squeeze(x, axis=a)", "tf.squeeze(x, axis=[a])", "tf.squeeze(x, [a])")
    for k in K:
        known("reverse(x, axis=a)", f"{k}.reverse(x, axes=a)", f"{k}.reverse(x, a)")
    known("reverse(x, axis=a)", "tf.reverse(x, axis=[a])", "tf.reverse(x, [a])")
    for order in ["0, 2, 1", "0, 2, 1, 3", "0, 3, 1, 2", "0, 2, 3, 1", "0, 1, 3, 2", "0, 3, 2, 1"]:
        for k in K:
            known(f"permute(x, [{order[3:]}])", f"{k}.permute_dimensions(x, ({order}))",
                  f"{k}.permute_dimensions(x, [{order}])")
        known(f"permute(x, [{order[3:]}])", *(f"{call}({form})" for form in [f"x, [{order}]", f"x, ({order})"]
                                               for call in ["tf.transpose", "ops.transpose", "keras.ops.transpose"]))
        known(f"permute(x, [{order[3:]}])", f"tf.transpose(x, perm=[{order}])", f"tf.transpose(x, perm=({order}))")


def indexed():
    for body in ["x[:, a]", "x[:, a, :]", "x[:, :, a]", "x[:, a, a]", "x[:, a, b]", "x[:, :, :, a]", "x[..., 0]",
                 "x[..., 1]", "x[..., 2]",
                 "x[..., 3]", "x[..., -1]", "x[..., -2]",
                 "x[:, a, :, :]", "x[:, :, a, :]", "x[:, a:]", "x[:, :a]", "x[:, a:b]", "x[:, a:, :]", "x[:, :a, :]",
                 "x[:, a:b, :]", "x[:, :, a:]", "x[:, :, :a]", "x[:, :, a:b]", "x[..., a:]", "x[..., :a]",
                 "x[..., a:b]", "x[:, :, :, a:b]", "x[:, :, :, :a]", "x[:, :, :, a:]", "x[:, ::a]", "x[..., ::a]",
                 "x[:, ::a, :]", "x[:, :, ::a]", "x[:, :, :, ::a]", "x[:, a:b, a:b, :]", "x[:, a:a, :]",
                 "x[:, a:b, a:b]", "x[:, None]", "x[..., None]", "x[:, None, :]", "x[:, :, None]"]:
        known(body, body)
        if "None" in body:
            known(body, body.replace("None", "tf.newaxis"), body.replace("None", "np.newaxis"))
    for name in ["i", "idx", "index"]:
        for body in ["x[:, {}]", "x[:, :, {}]", "x[..., {}]", "x[:, {}, :]"]:
            known(body.format(name), body.format(name), arguments=f"x, {name}=1")


def several():
    for sign in "+-*/":
        known(f"x0 {sign} x1", f"x[0] {sign} x[1]")
    for k in K + OPS + ["tf", "tf.math"]:
        for name in ["abs", "square"]:
            known(f"{name}(x0 - x1)", f"{k}.{name}(x[0] - x[1])")
        for name in ["maximum", "minimum"]:
            known(f"{name}(x0, x1)", f"{k}.{name}(x[0], x[1])")
    for k in K:
        known("sum(x0 * x1, axis=1)", f"{k}.sum(x[0] * x[1], axis=1)")
        known("sum(x0 * x1, axis=a)", f"{k}.sum(x[0] * x[1], axis=a)")
        known("sum(x0 * x1, axis=1, keepdims=True)", f"{k}.sum(x[0] * x[1], axis=1, keepdims=True)")
        known("sum(x0 * x1, axis=a, keepdims=True)", f"{k}.sum(x[0] * x[1], axis=a, keepdims=True)")
        known("concat(x0, x1, axis=a)", f"{k}.concatenate([x[0], x[1]], axis=a)")
        known("concat(x0, x1, axis=1)", f"{k}.concatenate([x[0], x[1]], axis=1)")
        # The similarity of a Manhattan LSTM, and the distance in Keras' example of a Siamese network.
        known("exp(-sum(abs(x0 - x1), axis=1, keepdims=True))",
              f"{k}.exp(-{k}.sum({k}.abs(x[0] - x[1]), axis=1, keepdims=True))")
        root = "sqrt(maximum(sum(square(x0 - x1), axis=1, keepdims=True), 1e-7))"
        total = f"{k}.sum({k}.square(x - y), axis=1, keepdims=True)"
        definition(root, "v", f"x, y = v; return {k}.sqrt({k}.maximum({total}, {k}.epsilon()))")
        definition(root, "v", f"x, y = v; s = {total}; return {k}.sqrt({k}.maximum(s, {k}.epsilon()))")


def with_arguments():
    for name in ["scale", "alpha", "factor"]:
        for body in ["x * {}", "{} * x", "x / {}", "x + {}"]:
            known(body.format(name), body.format(name), arguments=f"x, {name}")
        definition(f"x * {name}", f"x, {name}", f"return x * {name}")
        # Inception-ResNet, as keras.applications had it.
        known(f"x0 + x1 * {name}", f"x[0] + x[1] * {name}", arguments=f"x, {name}")


def fill():
    for part in (arithmetic, elementwise, over_axes, indexed, several, with_arguments):
        part()


def compiled(pythons):
    """Of each Python: its version, and by source what lambda_compile.py says of it."""
    jobs = [(source, letters(source)) for sources in KNOWN.values() for source in sources]
    for python in pythons:
        out = subprocess.run([python, os.path.join(HERE, "lambda_compile.py")], input=json.dumps(jobs).encode(),
                             stdout=subprocess.PIPE, check=True).stdout
        answer = json.loads(out)
        yield answer["version"], answer["functions"]


def letters(source):
    """The letters that stand for numbers, not for names inside of words."""
    body = source.split(":", 1)[1]
    around = [body[max(at - 1, 0):at] + body[at + 1:at + 2] for at in range(len(body))]
    alone = {body[at] for at in range(len(body)) if not any(c.isalnum() or c in "_.'" for c in around[at])}
    return sorted(alone & set(LETTERS))


def main():
    fill()
    rows, samples = {}, []
    for version, functions in compiled(sys.argv[1:]):
        for source, variants in functions:
            # Keras 3 runs on Python 3.9 and later.
            if "ops." in source and tuple(map(int, version.split("."))) < (3, 9):
                continue
            for variant in variants:
                constants = ",".join(variant["constants"]) or "-"
                # Functions whose digests are the same differ in numbers that each must have.
                key = variant["digest"], constants
                assert set(letters(source)) <= {pair[-1] for pair in variant["constants"]}, (version, source)
                first, versions = rows.setdefault(key, (source, []))
                same = [e for e, sources in KNOWN.items() if {source, first} & set(sources)]
                assert len(same) == 1, (version, source, first, same)
                if version not in versions:
                    versions.append(version)
            if source in SAMPLES:
                samples.extend("\t".join([version, source, variant["code"]]) for variant in variants)
    lines = []
    for expression, sources in KNOWN.items():
        lines.append(f"= {expression}")
        for source in dict.fromkeys(sources):
            found = [(key, versions) for key, (first, versions) in rows.items() if first == source]
            lines.extend([source] if found else [])
            lines.extend(f" {digest} {','.join(versions)} {constants}".removesuffix(" -")
                         for (digest, constants), versions in found)
    write(os.path.join(PLUGIN, "src", "lambda", "known.txt"), lines)
    write(os.path.join(PLUGIN, "tests", "lambda", "compiled.txt"), samples)
    by_digest = collections.defaultdict(list)
    for digest, constants in rows:
        by_digest[digest].append(dict(pair.split("=") for pair in constants.split(",") if "=" in pair))
    for digest, alternatives in by_digest.items():
        for one, other in itertools.combinations(alternatives, 2):
            numbers = [(number, other.get(index, "a")) for index, number in one.items()]
            assert any(a != b and not a.isalpha() and not b.isalpha() for a, b in numbers), (digest, one, other)
    print(len(KNOWN), "expressions,", len(rows), "digests")


def write(path, lines):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as out:
        out.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
