"""Networks of cells: PAR's experts, in the search space of DARTS.

A *genotype* gives, for a normal and a reduction cell, two `(operation, input)` edges
into each of four intermediate nodes; inputs 0 and 1 are the outputs of the two cells
before, 2 to 4 are intermediate nodes.
"""

from __future__ import annotations

import keras
from keras import ops

from keras_lifelong.layers.cell_graph import plain_cells
from keras_lifelong.layers.operations import OPERATIONS
from keras_lifelong.layers.operations import FactorizedReduce
from keras_lifelong.layers.operations import ReluConvNorm
from keras_lifelong.layers.operations import operation
from keras_lifelong.layers.operations import pad
from keras_lifelong.layers.operations import padded_shape
from keras_lifelong.seeds import draw_kernels

K = keras.layers
NODES = 4

# The cells of Liu, Simonyan, Yang: DARTS, ICLR 2019.
DARTS_V1 = {
    "normal": [
        *(("sep_conv_3x3", 1), ("sep_conv_3x3", 0)),
        *(("skip_connect", 0), ("sep_conv_3x3", 1)),
        *(("skip_connect", 0), ("sep_conv_3x3", 1)),
        *(("sep_conv_3x3", 0), ("skip_connect", 2)),
    ],
    "reduce": [
        *(("max_pool_3x3", 0), ("max_pool_3x3", 1)),
        *(("skip_connect", 2), ("max_pool_3x3", 0)),
        *(("max_pool_3x3", 0), ("skip_connect", 2)),
        *(("skip_connect", 2), ("avg_pool_3x3", 0)),
    ],
}
DARTS_V2 = {
    "normal": [
        *(("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
        *(("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
        *(("sep_conv_3x3", 1), ("skip_connect", 0)),
        *(("skip_connect", 0), ("dil_conv_3x3", 2)),
    ],
    "reduce": [
        *(("max_pool_3x3", 0), ("max_pool_3x3", 1)),
        *(("skip_connect", 2), ("max_pool_3x3", 1)),
        *(("max_pool_3x3", 0), ("skip_connect", 2)),
        *(("skip_connect", 2), ("max_pool_3x3", 1)),
    ],
}


def check_genotype(genotype) -> dict[str, list[tuple[str, int]]]:
    """The genotype in standard form.

    Raises:
        ValueError: if a cell is missing, or an edge is none of this space.
    """
    if not isinstance(genotype, dict) or set(genotype) != {"normal", "reduce"}:
        raise ValueError(
            "`genotype` must be a dict of 'normal' and 'reduce'. "
            f"Received: {genotype!r}"
        )
    out = {}
    for kind, edges in genotype.items():
        edges = [tuple(edge) for edge in edges]
        fits = len(edges) == 2 * NODES and all(
            len(edge) == 2 and edge[0] in OPERATIONS and 0 <= edge[1] < 2 + i // 2
            for i, edge in enumerate(edges)
        )
        if not fits:
            raise ValueError(
                f"`genotype` needs {2 * NODES} edges (operation, input) a cell, two "
                "into each node in turn, from inputs or earlier nodes, by "
                f"{OPERATIONS}. "
                f"Received: {kind!r}: {edges!r}"
            )
        out[kind] = edges
    return out


@keras.saving.register_keras_serializable(package="keras_lifelong")
class Cell(keras.layers.Layer):
    """One cell: four nodes, each the sum of two operations; the nodes are its output.

    Args:
        edges: eight (operation, input).
        filters: C: width of every node; the output has 4 C channels.
        reduction: whether edges from the two inputs halve height and width.
        reduction_before: whether the cell before did, so that input 0 is larger.

    Call arguments:
        before: output of the cell before the last, (batch, height, width, channels).
        last: output of the last cell.
        training: as everywhere in Keras.
    """

    def __init__(
        self, edges, filters, reduction=False, reduction_before=False, **kwargs
    ):
        super().__init__(**kwargs)
        self.edges = [tuple(edge) for edge in edges]
        self.filters = filters
        self.reduction = reduction
        self.reduction_before = reduction_before
        adapt = FactorizedReduce if reduction_before else ReluConvNorm
        dtype = self.dtype_policy
        self.adapt = [adapt(filters, dtype=dtype), ReluConvNorm(filters, dtype=dtype)]
        self.operations = [
            operation(name, filters, 2 if reduction and node < 2 else 1, dtype=dtype)
            for name, node in self.edges
        ]

    def build(self, before_shape, last_shape):
        self.adapt[0].build(before_shape)
        self.adapt[1].build(last_shape)
        inside = (*last_shape[:-1], self.filters)
        smaller = self.compute_output_shape(before_shape, last_shape)
        for layer, (_, node) in zip(self.operations, self.edges, strict=True):
            layer.build(inside if node < 2 else (*smaller[:-1], self.filters))

    def call(self, before, last, training=False):
        nodes = [
            layer(x, training=training)
            for layer, x in zip(self.adapt, (before, last), strict=True)
        ]
        for i in range(0, len(self.edges), 2):
            pair = [
                self.operations[k](nodes[self.edges[k][1]], training=training)
                for k in (i, i + 1)
            ]
            nodes.append(pair[0] + pair[1])
        return ops.concatenate(nodes[2:], axis=-1)

    def compute_output_shape(self, before_shape, last_shape):
        batch, height, width, _ = last_shape
        s = 2 if self.reduction else 1
        return (batch, -(-height // s), -(-width // s), NODES * self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "edges": self.edges,
            "filters": self.filters,
            "reduction": self.reduction,
            "reduction_before": self.reduction_before,
        }


@keras.saving.register_keras_serializable(package="keras_lifelong")
class CellNetwork(keras.layers.Layer):
    """A stem, cells of one genotype and global average pooling: features of images.

    Cells number n // 3 and 2 n // 3 (of n, from 0) are reduction cells. The width does
    not grow with depth, as in the authors' program.

    Args:
        genotype: see `check_genotype`; `DARTS_V1` and `DARTS_V2` are given here.
        filters: C.
        cells: n, at least 2.
        stem_multiplier: the stem has so many times C channels.
        seed: of the initial weights; None: they are not repeatable.

    Call arguments:
        x: images (batch, height, width, channels).

    Returns:
        (batch, 4 C).

    Example:

    >>> import numpy as np
    >>> network = CellNetwork(DARTS_V2, filters=4)
    >>> network(np.zeros((1, 8, 8, 3), "float32")).shape
    TensorShape([1, 16])
    """

    def __init__(
        self,
        genotype,
        filters: int = 64,
        cells: int = 4,
        stem_multiplier: int = 3,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.seed = seed
        for name, value, least in (("filters", filters, 2), ("cells", cells, 2)):
            if not isinstance(value, int) or value < least:
                raise ValueError(
                    f"`{name}` must be an integer of at least {least}. "
                    f"Received: {value!r}"
                )
        self.genotype = check_genotype(genotype)
        self.filters = filters
        self.stem_multiplier = stem_multiplier
        dtype = self.dtype_policy
        width = stem_multiplier * filters
        self.stem = K.Conv2D(width, 3, use_bias=False, dtype=dtype)
        self.stem_norm = K.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=dtype)
        reductions = [i in (cells // 3, 2 * cells // 3) for i in range(cells)]
        self.cells = [
            Cell(
                self.genotype["reduce" if reduction else "normal"],
                filters,
                reduction,
                i > 0 and reductions[i - 1],
                dtype=dtype,
            )
            for i, reduction in enumerate(reductions)
        ]

    def build(self, input_shape):
        self.stem.build(padded_shape(input_shape, 1))
        shape = (*input_shape[:-1], self.stem_multiplier * self.filters)
        self.stem_norm.build(shape)
        before = last = shape
        for cell in self.cells:
            cell.build(before, last)
            before, last = last, cell.compute_output_shape(before, last)
        self._input_shape = tuple(input_shape[1:])
        if self.seed is not None:
            draw = keras.initializers.GlorotUniform
            draw_kernels(self.variables, draw, self.seed, "cells")

    def plain(self) -> keras.Model:
        """The same network of Keras' own layers, with the same weights."""
        return plain_cells(self, self._input_shape)

    def call(self, x, training=False):
        x = self.stem_norm(self.stem(pad(x, 1)), training=training)
        before = last = x
        for cell in self.cells:
            before, last = last, cell(before, last, training=training)
        return ops.mean(last, axis=(1, 2))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], NODES * self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "genotype": self.genotype,
            "filters": self.filters,
            "cells": len(self.cells),
            "stem_multiplier": self.stem_multiplier,
            "seed": self.seed,
        }
