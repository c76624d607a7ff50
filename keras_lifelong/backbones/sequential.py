"""Backbones of Keras' own layers in a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

from keras_lifelong.backbones.registry import Shape
from keras_lifelong.backbones.registry import Stack
from keras_lifelong.backbones.registry import check_dropout
from keras_lifelong.backbones.registry import check_image
from keras_lifelong.backbones.registry import check_sizes
from keras_lifelong.backbones.registry import register


@register("mlp")
def mlp(
    input_shape: Shape,
    units: Sequence[int],
    activation: str = "relu",
    dropout: float = 0.0,
) -> keras.Sequential:
    """Dense layers of the given widths; images are flattened.

    Args:
        input_shape: shape of one example.
        units: width of each hidden layer.
        activation: name of a Keras activation.
        dropout: rate after each layer, in [0, 1); 0 adds no dropout layer.
    """
    check_sizes("units", units)
    check_dropout(dropout)
    stack = Stack("mlp", input_shape)
    if len(input_shape) > 1:
        stack.add("Flatten")
    stack.add_dense(units, activation, dropout)
    return stack.build()


@register("cnn")
def cnn(
    input_shape: Shape,
    filters: Sequence[int],
    units: Sequence[int] = (),
    kernel_size: int = 3,
    activation: str = "relu",
    dropout: float = 0.0,
) -> keras.Sequential:
    """Convolutions, each with 2x2 max pooling, then dense layers.

    Args:
        input_shape: (height, width, channels).
        filters: filters of each convolution ("same" padding, stride 1).
        units: width of each dense layer after them; may be empty.
        kernel_size: side of the convolutions' kernels.
        activation: name of a Keras activation.
        dropout: rate after each dense layer, in [0, 1); 0 adds no dropout layer.

    Raises:
        ValueError: also where the image is too small to be halved once a convolution.
    """
    check_image("cnn", input_shape)
    check_sizes("filters", filters)
    check_sizes("units", units, empty=True)
    check_sizes("kernel_size", [kernel_size])
    check_dropout(dropout)
    if min(input_shape[:2]) < 2 ** len(filters):
        raise ValueError(
            f"`filters` has {len(filters)} entries, each halving the image: the image "
            f"must measure {2 ** len(filters)} or more on each side. "
            f"Received: input_shape={input_shape}, filters={list(filters)}"
        )
    stack = Stack("cnn", input_shape)
    for count in filters:
        stack.add("Conv2D", count, kernel_size, padding="same", activation=activation)
        stack.add("MaxPooling2D", 2)
    stack.add("Flatten")
    stack.add_dense(units, activation, dropout)
    return stack.build()


@register("den_dense")
def den_dense(input_shape: Shape) -> keras.Sequential:
    """DEN's dense net, ReLU 312-128 (Yoon et al., ICLR 2018, section 4)."""
    stack = Stack("den_dense", input_shape)
    if len(input_shape) > 1:
        stack.add("Flatten")
    stack.add_dense([312, 128], "relu", dropout=0)
    return stack.build()


@register("mlp_100_100")
def mlp_100_100(input_shape: Shape) -> keras.Sequential:
    """ARI's network for MNIST: ReLU 100-100 without biases.

    89,400 parameters for 28x28 images with a head of ten classes without biases.
    """
    stack = Stack("mlp_100_100", input_shape)
    if len(input_shape) > 1:
        stack.add("Flatten")
    for _ in range(2):
        stack.add("Dense", 100, activation="relu", use_bias=False)
    return stack.build()


@register("den_conv")
def den_conv(
    input_shape: Shape,
    filters: Sequence[int] = (64, 128, 256, 256, 128),
    units: Sequence[int] = (384, 192),
) -> keras.Sequential:
    """DEN's convolutional net for CIFAR-100 (Yoon et al., ICLR 2018, section 4).

    Five ReLU convolutions of 5x5 filters, then dense layers. The paper gives these
    sizes and no more; padding and pooling are our reading of its "modified AlexNet":
    "same" padding, stride 1, and 2x2 max pooling after each convolution while the image
    still measures 2 or more on each side (32x32 images are pooled five times, 28x28
    ones four).

    Args:
        input_shape: (height, width, channels).
        filters: of each convolution.
        units: of the dense layers.
    """
    check_image("den_conv", input_shape)
    check_sizes("filters", filters)
    check_sizes("units", units)
    stack = Stack("den_conv", input_shape)
    side = min(input_shape[:2])
    for count in filters:
        stack.add("Conv2D", count, 5, padding="same", activation="relu")
        if side >= 2:
            stack.add("MaxPooling2D", 2)
            side //= 2
    stack.add("Flatten")
    stack.add_dense(units, "relu", dropout=0)
    return stack.build()


@register("l2bg_mnist")
def l2bg_mnist(input_shape: Shape) -> keras.Sequential:
    """BindAndGrow's net for permuted MNIST: digits padded to 32x32, ReLU 300-300-300.

    491,110 parameters with a head of ten classes (its authors' program).
    """
    check_image("l2bg_mnist", input_shape)
    stack = Stack("l2bg_mnist", input_shape)
    stack.add("ZeroPadding2D", 2)
    stack.add("Flatten")
    stack.add_dense([300, 300, 300], "relu", dropout=0)
    return stack.build()


@register("l2bg_cifar100")
def l2bg_cifar100(
    input_shape: Shape,
    filters: Sequence[int] = (64, 128, 256),
    units: Sequence[int] = (2048, 2048),
) -> keras.Sequential:
    """BindAndGrow's net for CIFAR-100 (its authors' program; that of HAT and L2G).

    Three ReLU convolutions of 4x4, 3x3 and 2x2 filters without padding, each with 2x2
    max pooling, then two ReLU dense layers. 6,524,362 parameters with a head of ten
    classes.

    Args:
        input_shape: (height, width, channels), 24 pixels or more a side.
        filters: of the three convolutions.
        units: of the dense layers.
    """
    check_image("l2bg_cifar100", input_shape)
    check_sizes("filters", filters)
    check_sizes("units", units)
    if len(filters) != 3 or min(input_shape[:2]) < 24:
        raise ValueError(
            "`l2bg_cifar100` takes images of 24x24 or more, and three `filters`. "
            f"Received: input_shape={input_shape}, filters={list(filters)}"
        )
    stack = Stack("l2bg_cifar100", input_shape)
    for count, size in zip(filters, (4, 3, 2), strict=True):
        stack.add("Conv2D", count, size, activation="relu")
        stack.add("MaxPooling2D", 2)
    stack.add("Flatten")
    stack.add_dense(units, "relu", dropout=0)
    return stack.build()


def _lasem(input_shape, name, convolutions, units):
    """Convolutions given as (filters, kernel size, pooling after it, 0 for none)."""
    import keras

    check_image(name, input_shape)
    stack = Stack(name, input_shape)

    def drawn():  # for each layer anew: an initializer draws the same every time
        return {
            "kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.05),
            "bias_initializer": keras.initializers.Constant(0.2),
            "activation": "relu",
        }

    for filters, size, pool in convolutions:
        stack.add("Conv2D", filters, size, padding="same", **drawn())
        if pool:
            stack.add("MaxPooling2D", pool, padding="same")
    stack.add("Flatten")
    stack.add("Dropout", 0.5)
    for count in units:
        stack.add("Dense", count, **drawn())
    return stack.build()


@register("lasem_cifar100")
def lasem_cifar100(input_shape: Shape) -> keras.Sequential:
    """LASEM's net for CIFAR-100 (Lee et al., ICML 2021, Figure 6)."""
    convolutions = [(32, 3, 0), (32, 3, 2), (64, 3, 0), (64, 3, 2)]
    return _lasem(input_shape, "lasem_cifar100", convolutions, [64])


@register("lasem_office_home")
def lasem_office_home(input_shape: Shape) -> keras.Sequential:
    """LASEM's net for Office-Home (Lee et al., ICML 2021, Figure 6)."""
    convolutions = [(64, 11, 3), (256, 5, 3), (256, 3, 2), (256, 3, 2)]
    return _lasem(input_shape, "lasem_office_home", convolutions, [256, 64])


@register("lasem_stl10")
def lasem_stl10(
    input_shape: Shape, units: Sequence[int] = (128, 16)
) -> keras.Sequential:
    """LASEM's net for STL-10 (Lee et al., ICML 2021, Figure 6).

    Args:
        input_shape: (height, width, channels).
        units: of the dense layers; with tensor factorisation the authors had 128 only.
    """
    check_sizes("units", units, empty=True)
    pairs = [[(filters, 3, 0), (filters, 3, 3)] for filters in (32, 64, 128)]
    return _lasem(input_shape, "lasem_stl10", sum(pairs, []), units)


@register("lasem_stl10_nine")
def lasem_stl10_nine(input_shape: Shape) -> keras.Sequential:
    """LASEM's nine-layer net for STL-10, three groups of three (appendix E)."""
    triples = [[(n, 3, 0), (n, 3, 0), (n, 3, 3)] for n in (32, 64, 128)]
    return _lasem(input_shape, "lasem_stl10_nine", sum(triples, []), [128, 16])
