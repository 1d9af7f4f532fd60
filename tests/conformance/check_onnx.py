"""Every .onnx below a folder: does onnx.checker accept it, shapes inferred strictly, and does ONNX Runtime load it?

    python check_onnx.py FOLDER

The folder is what RECAST_TEST_ONNX_DUMP named in a run of the suite.
"""

import pathlib
import sys

import onnx
import onnxruntime


def main():
    files = sorted(pathlib.Path(sys.argv[1]).rglob("*.onnx"))
    wrong = 0
    for file in files:
        try:
            onnx.checker.check_model(str(file), full_check=True)
            onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        except Exception as error:  # every file is reported, whatever it does
            wrong += 1
            print(f"{file.name}: {str(error).strip().splitlines()[0]}")
    print(f"{len(files)} files, {wrong} wrong")
    return 1 if wrong or not files else 0


if __name__ == "__main__":
    sys.exit(main())
