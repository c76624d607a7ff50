"""Backbones that read an image from left to right: features at each time step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_lifelong.backbones.registry import Shape
from keras_lifelong.backbones.registry import Stack
from keras_lifelong.backbones.registry import check_image
from keras_lifelong.backbones.registry import check_sizes
from keras_lifelong.backbones.registry import register

if TYPE_CHECKING:
    import keras

# VGG's configuration A: filters of the convolutions before each pooling, and how far
# these pool height and width.
VGG11 = (
    ((64,), (2, 2)),
    ((128,), (2, 2)),
    ((256, 256), (2, 1)),
    ((512, 512), (2, 1)),
    ((512, 512), (2, 1)),
)
LEAST = 32  # of the height, which is halved five times


@register("vgg11_bilstm")
def vgg11_bilstm(
    input_shape: Shape, width: float = 1.0, units: int = 256
) -> keras.Sequential:
    """VGG11's convolutions and two bidirectional LSTMs: BindAndGrow's text recognition.

    The convolutions are those of VGG's configuration A (Simonyan and Zisserman, ICLR
    2015), 3x3 and normalised by batch, with PyTorch's constants. Of the pooling the
    last three keep the width, so that a column of an image is a time step (as in Shi et
    al.: CRNN, PAMI 2017): features are (batch, width // 4, 2 * units), for heads of
    kind "sequence". The paper names the network and no more; the rest is ours.

    Args:
        input_shape: (height, width, channels), at least 32 high and 4 wide.
        width: by what filters and units are multiplied, above 0, for a small network.
        units: of each direction of an LSTM, before that.

    Raises:
        ValueError: if an argument is not as said here.

    Example:

    >>> vgg11_bilstm((32, 96, 1), width=0.125).output_shape
    (None, 24, 64)
    """
    check_image("vgg11_bilstm", input_shape)
    check_sizes("units", [units])
    if not width > 0:
        raise ValueError(f"`width` must be above 0. Received: {width!r}")
    if input_shape[0] < LEAST or input_shape[1] < 4:
        raise ValueError(
            f"`vgg11_bilstm` takes images at least {LEAST} high and 4 wide. "
            f"Received: input_shape={input_shape}"
        )

    def scaled(size: int) -> int:
        return max(round(size * width), 1)

    stack = Stack("vgg11_bilstm", input_shape)
    high, wide = input_shape[:2]
    last = 1
    for filters, pool in VGG11:
        for count in map(scaled, filters):
            stack.add("Conv2D", count, 3, padding="same", use_bias=False)
            stack.add("BatchNormalization", momentum=0.9, epsilon=1e-5)
            stack.add("Activation", "relu")
            last = count
        stack.add("MaxPooling2D", pool)
        high, wide = high // pool[0], wide // pool[1]
    stack.add("Permute", (2, 1, 3))  # columns first
    stack.add("Reshape", (wide, high * last))
    import keras

    for _ in range(2):
        lstm = keras.layers.LSTM(
            scaled(units), return_sequences=True, name=stack.name_for("LSTM")
        )
        stack.add("Bidirectional", lstm)
    return stack.build()
