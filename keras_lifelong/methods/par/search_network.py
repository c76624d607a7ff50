"""The searched network: all operations on all edges, one of them in use at a time.

PAR searches its cells in it (Wang et al., CVPR 2023, section 3.3; the space is that of
DARTS). Which operation an edge applies is read from a variable, so that a compiled step
serves every architecture that is sampled.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_lifelong.layers.cell import NODES
from keras_lifelong.layers.operations import OPERATIONS
from keras_lifelong.layers.operations import FactorizedReduce
from keras_lifelong.layers.operations import ReluConvNorm
from keras_lifelong.layers.operations import operation
from keras_lifelong.layers.operations import pad
from keras_lifelong.layers.operations import padded_shape
from keras_lifelong.seeds import draw_kernels

K = keras.layers
KINDS = ("normal", "reduce")
EDGES = tuple((i, j) for i in range(NODES) for j in range(2 + i))  # (node, input)
NORMS = 2  # at most, in one operation
MOMENTUM, EPSILON = 0.9, 1e-5


class TableNorm(keras.layers.Layer):
    """Batch normalisation whose statistics are handed in and out.

    Branches of a compiled `switch` may not assign variables, so an operation's norms
    hold none: before a call `given` is their mean and variance, and after it `found`
    is what the batch had.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.given = self.found = None

    def build(self, input_shape):
        """There is nothing to build."""

    def call(self, x, training=False):
        mean, variance = self.given
        if training:
            mean, variance = ops.moments(x, axes=(0, 1, 2))
        self.found = (mean, variance)
        return (x - mean) * ops.rsqrt(variance + EPSILON)


class MixedEdge(keras.layers.Layer):
    """One edge: the six operations, of which the one at `index` is applied.

    Args:
        filters: C.
        strides: 1 or 2.

    Call arguments:
        x: (batch, height, width, C).
        index: integer, of `OPERATIONS`.
        table: running statistics (6, 2, 2, C): operation, norm, mean and variance.

    Returns:
        The output, and the batch's statistics (2, 2, C).
    """

    def __init__(self, filters: int, strides: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.operations = [
            operation(name, filters, strides, searching=True) for name in OPERATIONS
        ]
        for layer in self.operations:
            _use_table_norms(layer)

    def build(self, input_shape):
        for layer in self.operations:
            layer.build(input_shape)

    def call(self, x, index, table, training=False):
        def branch(j):
            return lambda x, table: self._apply(j, x, table, training)

        branches = [branch(j) for j in range(len(OPERATIONS))]
        return ops.switch(index, branches, x, table)

    def _apply(self, j, x, table, training):
        norms = _norms(self.operations[j])
        for k, norm in enumerate(norms):
            norm.given = table[j, k, 0], table[j, k, 1]
        y = self.operations[j](x, training=training)
        found = [ops.stack(norm.found) for norm in norms]
        for norm in norms:
            norm.given = norm.found = None
        found += [ops.zeros((2, self.filters))] * (NORMS - len(norms))
        return y, ops.stack(found)


def _use_table_norms(layer):
    """Replaces an operation's norms; that of FactorizedReduce is not applied."""
    for part in (layer, getattr(layer, "first", None), getattr(layer, "second", None)):
        if getattr(part, "norm", None) is not None:
            part.norm = TableNorm()


def _norms(layer) -> list[TableNorm]:
    if isinstance(layer, FactorizedReduce):
        return []
    parts = (layer, getattr(layer, "first", None), getattr(layer, "second", None))
    norms = [getattr(part, "norm", None) for part in parts]
    return [norm for norm in norms if norm is not None]


class SearchCell(keras.layers.Layer):
    """A cell with all 14 edges; arguments as `Cell`.

    Call arguments:
        before, last: as in `Cell`.
        choice: (14,) integers: the operation of each edge.
    """

    def __init__(self, filters, reduction=False, reduction_before=False, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.reduction = reduction
        adapt = FactorizedReduce if reduction_before else ReluConvNorm
        self.adapt = [adapt(filters, affine=False), ReluConvNorm(filters, affine=False)]
        self.edges = [
            MixedEdge(filters, 2 if reduction and j < 2 else 1) for _, j in EDGES
        ]

    def build(self, before_shape, last_shape):
        self.adapt[0].build(before_shape)
        self.adapt[1].build(last_shape)
        inside = (*last_shape[:-1], self.filters)
        smaller = self.compute_output_shape(before_shape, last_shape)
        smaller = (*smaller[:-1], self.filters)
        for edge, (_, j) in zip(self.edges, EDGES, strict=True):
            edge.build(inside if j < 2 else smaller)
        shape = (len(EDGES), len(OPERATIONS), NORMS, 2, self.filters)
        table = np.zeros(shape, "float32")
        table[:, :, :, 1] = 1
        self.table = self.add_weight(
            shape=shape,
            initializer=lambda s, dtype: ops.convert_to_tensor(table, dtype),
            trainable=False,
            name="statistics",
        )

    def call(self, before, last, choice, training=False):
        nodes = [
            layer(x, training=training)
            for layer, x in zip(self.adapt, (before, last), strict=True)
        ]
        table = ops.convert_to_tensor(self.table)
        found = []
        for node in range(NODES):
            total = 0
            for k, (i, j) in enumerate(EDGES):
                if i == node:
                    y, statistics = self.edges[k](
                        nodes[j], choice[k], table[k], training=training
                    )
                    total = total + y
                    found.append(statistics)
            nodes.append(total)
        if training:
            found = ops.stop_gradient(ops.stack(found))[:, None]
            used = ops.one_hot(choice, len(OPERATIONS))[:, :, None, None, None]
            rate = (1 - MOMENTUM) * used
            self.table.assign((1 - rate) * table + rate * found)
        return ops.concatenate(nodes[2:], axis=-1)

    def compute_output_shape(self, before_shape, last_shape):
        batch, height, width, _ = last_shape
        s = 2 if self.reduction else 1
        return (batch, -(-height // s), -(-width // s), NODES * self.filters)


class SearchNetwork(keras.layers.Layer):
    """A stem, cells of all operations, global average pooling and a linear head.

    Args:
        classes: outputs of the head.
        filters: C; the stem has as many channels.
        cells: as in `CellNetwork`.
        seed: of the initial weights.

    Call arguments:
        x: images (batch, height, width, channels).

    Returns:
        Logits (batch, classes).

    Attributes:
        choice: variable (2, 14): the operation of every edge of the normal and the
            reduction cell, which the next call uses.
    """

    def __init__(self, classes, filters=64, cells=4, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.classes, self.seed = classes, seed
        self.stem = K.Conv2D(filters, 3, use_bias=False)
        self.stem_norm = K.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON)
        self.reductions = [i in (cells // 3, 2 * cells // 3) for i in range(cells)]
        self.cells = [
            SearchCell(filters, reduction, i > 0 and self.reductions[i - 1])
            for i, reduction in enumerate(self.reductions)
        ]
        self.head = K.Dense(classes)
        self.filters = filters

    def build(self, input_shape):
        self.stem.build(padded_shape(input_shape, 1))
        shape = (*input_shape[:-1], self.filters)
        self.stem_norm.build(shape)
        before = last = shape
        for cell in self.cells:
            cell.build(before, last)
            before, last = last, cell.compute_output_shape(before, last)
        self.head.build((input_shape[0], NODES * self.filters))
        self.choice = self.add_weight(
            shape=(len(KINDS), len(EDGES)),
            initializer="zeros",
            dtype="int32",
            trainable=False,
            name="choice",
        )
        self.draw(self.seed)

    def draw(self, seed: int):
        """Draws all weights anew, so that one network serves search after search."""
        init = keras.initializers.GlorotUniform
        draw_kernels(self.variables, init, seed, "search")
        for variable in self.variables:
            if "kernel" in variable.name:
                continue
            if variable.name in ("gamma", "moving_variance"):
                variable.assign(np.ones(variable.shape, "float32"))
            elif variable.name == "statistics":
                value = np.zeros(variable.shape, "float32")
                value[:, :, :, 1] = 1
                variable.assign(value)
            else:
                variable.assign(np.zeros(variable.shape, variable.dtype))

    def call(self, x, training=False):
        x = self.stem_norm(self.stem(pad(x, 1)), training=training)
        choice = ops.convert_to_tensor(self.choice)
        before = last = x
        for cell, reduction in zip(self.cells, self.reductions, strict=True):
            edges = choice[KINDS.index("reduce" if reduction else "normal")]
            before, last = last, cell(before, last, edges, training=training)
        return self.head(ops.mean(last, axis=(1, 2)))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.classes)
