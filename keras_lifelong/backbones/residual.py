"""Residual networks (He et al., CVPR 2016) as graphs of Keras' own layers.

Padding is symmetric and norms have PyTorch's constants, on which the published results
rest: Keras' "same" pads strided layers on one side only. The layers of a block are
named after it: `block_1_0_conv_1`, `block_1_0_norm_1`, …, so that `"block_1_0_*"` is
all of it where layers are named by patterns (`parts=` of BindAndGrow).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from keras_lifelong.backbones.registry import Shape
from keras_lifelong.backbones.registry import check_image
from keras_lifelong.backbones.registry import check_sizes
from keras_lifelong.backbones.registry import register

if TYPE_CHECKING:
    import keras


@register("resnet18_light")
def resnet18_light(
    input_shape: Shape, filters: int = 64, stem_pool: bool = False
) -> keras.Model:
    """The light ResNet18 of MNTDP and of PAR's baselines: as wide at every depth.

    607,050 parameters with a head of ten classes.

    Args:
        input_shape: (height, width, channels).
        filters: of every convolution.
        stem_pool: whether 3x3 max pooling of stride 2 follows the stem, as in PAR's
            program.
    """
    check_sizes("filters", [filters])
    stages = [(filters, 1), *[(filters, 2)] * 3]
    return _residual("resnet18_light", input_shape, stages, 2, stem_pool=stem_pool)


@register("resnet18_thin")
def resnet18_thin(input_shape: Shape, filters: int = 20) -> keras.Model:
    """GEM's reduced ResNet18 (Lopez-Paz and Ranzato, NeurIPS 2017).

    1,094,750 parameters with a head of ten classes.

    Args:
        input_shape: (height, width, channels).
        filters: of the first stage, doubled in each of three more.
    """
    check_sizes("filters", [filters])
    stages = [(filters, 1), *[(filters * 2**i, 2) for i in (1, 2, 3)]]
    return _residual("resnet18_thin", input_shape, stages, 2)


@register("resnet32_thin")
def resnet32_thin(
    input_shape: Shape, filters: Sequence[int] = (5, 10, 20, 40)
) -> keras.Model:
    """ARI's network for CIFAR: ResNet-32 (He et al., CVPR 2016), a third as wide.

    Three stages of five blocks, shortcuts without parameters. 181,495 parameters with a
    head of ten classes without biases.

    Args:
        input_shape: (height, width, channels).
        filters: of the stem and of the three stages, none below the one before it.
    """
    check_sizes("filters", filters)
    if len(filters) != 4:
        raise ValueError(
            "`filters` must be four numbers: of the stem and of three stages. "
            f"Received: {filters!r}"
        )
    if list(filters) != sorted(filters):
        raise ValueError(
            "`filters` must not fall: a shortcut without parameters takes no channels "
            f"away. Received: {filters!r}"
        )
    stem, *widths = filters
    stages = [(widths[0], 1), (widths[1], 2), (widths[2], 2)]
    return _residual(
        "resnet32_thin", input_shape, stages, 5, stem=stem, projection=False
    )


def _residual(
    name: str,
    input_shape: Shape,
    stages: Sequence[tuple[int, int]],
    blocks: int,
    stem: int | None = None,
    stem_pool: bool = False,
    projection: bool = True,
) -> keras.Model:
    """A 3x3 stem, stages of residual blocks, global average pooling.

    Args:
        name: of the model.
        input_shape: (height, width, channels).
        stages: filters and strides of each.
        blocks: in a stage.
        stem: its filters. None: those of the first stage.
        stem_pool: whether it is pooled.
        projection: whether a shortcut whose shape changes is a convolution; else it is
            thinned out and filled up with zeros, which takes no parameters (He's
            option A).
    """
    import keras

    check_image(name, input_shape)
    image = keras.Input(input_shape, name="images")
    x = _relu(_convolved(image, stem or stages[0][0], 1, "stem", ""), "stem")
    if stem_pool:
        x = keras.layers.ZeroPadding2D(1, name="stem_pad")(x)  # nothing is below 0
        x = keras.layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    for s, (filters, strides) in enumerate(stages):
        for b in range(blocks):
            stride = strides if b == 0 else 1
            x = _block(x, filters, stride, projection, f"block_{s}_{b}")
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(image, x, name=name)


def _block(x: Any, filters: int, strides: int, projection: bool, name: str) -> Any:
    """Two 3x3 convolutions, each normalised, added to the input; ReLU."""
    import keras

    y = _relu(_convolved(x, filters, strides, name, "_1"), f"{name}_1")
    y = _convolved(y, filters, 1, name, "_2")
    if strides > 1 or x.shape[-1] != filters:
        if projection:
            x = _convolved(x, filters, strides, f"{name}_shortcut", "", size=1)
        else:
            x = _thinned(x, filters, strides, name)
    return _relu(keras.layers.Add(name=f"{name}_add")([x, y]), name)


def _relu(x: Any, name: str) -> Any:
    import keras

    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _convolved(
    x: Any, filters: int, strides: int, name: str, number: str, size: int = 3
) -> Any:
    """A convolution without bias, drawn by He's rule, and its normalisation."""
    import keras

    if strides > 1 and size > 1:
        x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad{number}")(x)
    x = keras.layers.Conv2D(
        filters,
        size,
        strides,
        padding="same" if strides == 1 else "valid",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv{number}",
    )(x)
    return keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, name=f"{name}_norm{number}"
    )(x)


def _thinned(x: Any, filters: int, strides: int, name: str) -> Any:
    """Every `strides`-th pixel, with channels of zeros added."""
    import keras

    if strides > 1:
        x = keras.layers.MaxPooling2D(1, strides, name=f"{name}_thinned")(x)
    missing = filters - x.shape[-1]
    if not missing:
        return x
    if missing % x.shape[-1]:
        return keras.ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, missing]])
    # Layers that all methods carry, where they can give so many channels
    zeros = keras.layers.Rescaling(0.0, name=f"{name}_zeros")(x)
    copies = [zeros] * (missing // x.shape[-1])
    return keras.layers.Concatenate(name=f"{name}_filled")([x, *copies])
