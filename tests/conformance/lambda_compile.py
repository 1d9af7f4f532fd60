"""Compiles functions and digests their code: run by lambda_known.py under each Python, from 2.7 on.

Reads [[source, letters], ..] from stdin; writes the version and, of each source, its variants: the digest as
plugins/keras-layers/src/lambda/code.rs defines it, which constant is which letter or number, and the marshalled code.
"""
import base64
import hashlib
import itertools
import json
import marshal
import struct
import sys

SCHEME = b"recast lambda 1"
LAYOUT = b"2" if sys.version_info[0] == 2 else b"3.0" if sys.version_info < (3, 8) else \
    b"3.8" if sys.version_info < (3, 11) else b"3.11"
FLAGS = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200
# What each letter is compiled as; nothing else in a source is near them.
NUMBERS = {"a": 701, "b": 809, "c": 907}
TEXT = str if sys.version_info[0] > 2 else unicode  # noqa: F821, a name of Python 2


class Fields(object):
    def __init__(self):
        self.hash = hashlib.sha256()

    def count(self, count):
        self.hash.update(struct.pack("<Q", count))

    def bytes(self, data):
        self.count(len(data))
        self.hash.update(data)

    def texts(self, texts):
        self.count(len(texts))
        for text in texts:
            self.bytes(text.encode("utf-8"))

    def value(self, value, top):
        if value is None or value is True or value is False or value is Ellipsis:
            self.bytes({None: b"None", True: b"True", False: b"False"}.get(value, b"Ellipsis"))
        elif isinstance(value, (int, float)) and top:
            self.bytes(b"number")
        elif isinstance(value, int):
            self.bytes(b"int")
            low = value & ((1 << 128) - 1)
            self.bytes(struct.pack("<QQ", low & ((1 << 64) - 1), low >> 64))
        elif isinstance(value, float):
            self.bytes(b"float")
            self.bytes(struct.pack("<d", value))
        elif isinstance(value, TEXT):
            self.bytes(b"text")
            self.bytes(value.encode("utf-8"))
        elif isinstance(value, bytes):
            self.bytes(b"bytes")
            self.bytes(value)
        elif isinstance(value, tuple):
            self.bytes(b"tuple")
            self.count(len(value))
            for item in value:
                self.value(item, False)
        else:
            raise TypeError("a constant of %s" % type(value))


def digest(code):
    assert not code.co_freevars and not code.co_cellvars
    out = Fields()
    out.bytes(SCHEME)
    out.bytes(LAYOUT)
    keyword_only = getattr(code, "co_kwonlyargcount", 0)
    for count in (code.co_argcount, getattr(code, "co_posonlyargcount", 0), keyword_only, code.co_flags & FLAGS):
        out.bytes(struct.pack("<I", count))
    out.bytes(code.co_code)
    out.bytes(getattr(code, "co_exceptiontable", b""))
    out.bytes(b"\x20" * code.co_nlocals)
    out.texts(code.co_varnames[1:code.co_argcount + keyword_only])
    out.texts(code.co_names)
    out.count(len(code.co_consts))
    for index, value in enumerate(code.co_consts):
        if index == 0 and isinstance(value, (bytes, TEXT)) and code.co_name != "<lambda>":
            out.bytes(b"docstring")
        else:
            out.value(value, True)
    return out.hash.hexdigest()[:32]


def spelled(source, values):
    """The source with its letters as numbers."""
    head, body = source.split(":", 1)
    for letter, text in values.items():
        parts, at = [], 0
        for index, char in enumerate(body):
            around = body[max(index - 1, 0):index] + body[index + 1:index + 2]
            if char == letter and not any(c.isalnum() or c in "_.'" for c in around):
                parts.append(body[at:index] + text)
                at = index + 1
        body = "".join(parts) + body[at:]
    return head.replace("lambda", "f = lambda", 1) + ":" + body + "\n"


# A module that the same file imports is called in another way, from Python 3.11 on.
IMPORTS = ["", "import K, activations, backend, keras, np, ops, tf\n"]


def function(source, values, imports):
    """The function's code; nothing is run."""
    module = compile(imports + spelled(source, values), "known", "exec")
    return next(value for value in module.co_consts if isinstance(value, type(module)))


def constants(code, values):
    """index=letter of each number that stands for one, index=number of each that must be what it is."""
    names = {float(text): letter for letter, text in values.items()}
    for index, value in enumerate(code.co_consts):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            # A negative number that this Python folded leaves the positive one behind, unused.
            if value not in names and -value in names:
                continue
            yield "%d=%s" % (index, names.get(value, value))


def variants(source, letters):
    seen = {}
    choices = itertools.product(["", "-"], repeat=len(letters))
    for signs, imports in itertools.product(choices, IMPORTS):
        values = {letter: sign + str(NUMBERS[letter]) for letter, sign in zip(letters, signs)}
        code = function(source, values, imports)
        key = digest(code)
        found = {"digest": key, "constants": list(constants(code, values)),
                 "code": base64.b64encode(marshal.dumps(code)).decode("ascii")}
        assert seen.setdefault(key, found)["constants"] == found["constants"], source
    return [seen[key] for key in sorted(seen, key=lambda key: seen[key]["code"])]


def main():
    jobs = json.loads(sys.stdin.read())
    functions = [[source, variants(source, letters)] for source, letters in jobs]
    print(json.dumps({"version": "%d.%d" % sys.version_info[:2], "functions": functions}))


if __name__ == "__main__":
    main()
