"""Backbones of cells, which PAR searches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_lifelong.backbones.registry import Shape
from keras_lifelong.backbones.registry import Stack
from keras_lifelong.backbones.registry import check_image
from keras_lifelong.backbones.registry import register

if TYPE_CHECKING:
    import keras


@register("cells")
def cells(
    input_shape: Shape,
    genotype: str | dict = "darts_v2",
    filters: int = 64,
    cells: int = 4,
    stem_multiplier: int = 3,
) -> keras.Sequential:
    """PAR's expert: a network of cells (Wang et al., CVPR 2023, section 4).

    Args:
        input_shape: (height, width, channels).
        genotype: the cells: "darts_v1" or "darts_v2" (Liu et al., ICLR 2019), or a dict
            of "normal" and "reduce". PAR searches others from there.
        filters: C; the features are 4 C.
        cells: how many, at least 2; two of them halve the image.
        stem_multiplier: the stem has so many times C channels.

    Raises:
        ValueError: if an argument is out of range.
    """
    from keras_lifelong.layers import cell

    check_image("cells", input_shape)
    if isinstance(genotype, str):
        known = {"darts_v1": cell.DARTS_V1, "darts_v2": cell.DARTS_V2}
        if genotype not in known:
            raise ValueError(
                f"`genotype` must be one of {sorted(known)} or a dict. "
                f"Received: {genotype!r}"
            )
        genotype = known[genotype]
    network = cell.CellNetwork(
        genotype, filters, cells, stem_multiplier, name="cell_network"
    )
    stack = Stack("cells", input_shape)
    stack.layers.append(network)
    return stack.build()
