"""Makes tests/fixtures/torch: ResNet50 as keras.applications builds it, layer for layer, with few channels.

    keras3/bin/python torch_fixtures.py
"""
import os
import zipfile

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras.src.applications import resnet

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "..", "fixtures", "torch")


def narrow_resnet50():
    keras.utils.set_random_seed(50)

    def stack(x):
        x = resnet.stack_residual_blocks_v1(x, 2, 3, stride1=1, name="conv2")
        x = resnet.stack_residual_blocks_v1(x, 2, 4, name="conv3")
        x = resnet.stack_residual_blocks_v1(x, 2, 6, name="conv4")
        return resnet.stack_residual_blocks_v1(x, 2, 3, name="conv5")

    model = resnet.ResNet(stack, False, True, "resnet50", weights=None, input_shape=(32, 32, 3), classes=10,
                          weights_name="resnet50")
    generator = np.random.default_rng(50)
    for layer in model.layers:
        for weight in layer.weights:
            low, high = (0.5, 1.5) if weight.name in ("gamma", "moving_variance") else (-0.3, 0.3)
            weight.assign(generator.uniform(low, high, weight.shape).astype("float32"))
    return model


def squeezed(path):
    """The archive again, its members compressed and without dates: Keras stores them as they are."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    os.makedirs(FOLDER, exist_ok=True)
    target = os.path.join(FOLDER, "resnet50.keras")
    narrow_resnet50().save(target)
    squeezed(target)
    print(target, os.path.getsize(target))
