"""Backbones of layers that are networks themselves: cells and residual blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from keras_lifelong.backbones.registry import Shape
from keras_lifelong.backbones.registry import Stack
from keras_lifelong.backbones.registry import check_image
from keras_lifelong.backbones.registry import check_sizes
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


def _residual(name, input_shape, stages, blocks, stem=None, **options):
    """A 3x3 stem, stages of residual blocks, global average pooling.

    Args:
        stages: filters and strides of each.
        blocks: in a stage.
        stem: its filters. None: those of the first stage.
        options: "stem_pool", "projection".
    """
    from keras_lifelong.layers.residual import ResidualBlock
    from keras_lifelong.layers.residual import Stem

    check_image(name, input_shape)
    stack = Stack(name, input_shape)
    pool = options.pop("stem_pool", False)
    stack.layers.append(Stem(stem or stages[0][0], pool=pool, name="stem"))
    for s, (filters, strides) in enumerate(stages):
        for b in range(blocks):
            stride = strides if b == 0 else 1
            block = ResidualBlock(filters, stride, name=f"block_{s}_{b}", **options)
            stack.layers.append(block)
    stack.add("GlobalAveragePooling2D")
    return stack.build()


@register("resnet18_light")
def resnet18_light(
    input_shape: Shape, filters: int = 64, stem_pool: bool = False
) -> keras.Sequential:
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
def resnet18_thin(input_shape: Shape, filters: int = 20) -> keras.Sequential:
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
) -> keras.Sequential:
    """ARI's network for CIFAR: ResNet-32 (He et al., CVPR 2016), a third as wide.

    Three stages of five blocks, shortcuts without parameters. 181,495 parameters with a
    head of ten classes without biases.

    Args:
        input_shape: (height, width, channels).
        filters: of the stem and of the three stages.
    """
    check_sizes("filters", filters)
    if len(filters) != 4:
        raise ValueError(
            "`filters` must be four numbers: of the stem and of three stages. "
            f"Received: {filters!r}"
        )
    stem, *widths = filters
    stages = [(widths[0], 1), (widths[1], 2), (widths[2], 2)]
    return _residual(
        "resnet32_thin", input_shape, stages, 5, stem=stem, projection=False
    )
