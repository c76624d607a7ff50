"""Means over examples of a function of the gradient of each by itself.

The square of a batch's mean gradient is another, much smaller quantity. Where all
weights are of dense layers one gradient of a batch is enough: such a layer makes
z = x W + b of an example, whose gradients are x δᵀ and δ, with δ the gradient by z, and
a square or magnitude of a product is the product of theirs (Goodfellow 2015, Efficient
per-example gradient computations). Otherwise examples come one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.graph import Graph
from keras_lifelong.graph import is_graph
from keras_lifelong.streams import columns
from keras_lifelong.training.layer_losses import mixes_rows
from keras_lifelong.training.layer_losses import rows_meet

ROWS = 100  # of a batch


class ExampleGradients:
    """Compiled once, for any number of examples.

    Args:
        of: of a gradient, element by element, with of(a b) = of(a) of(b):
            `ops.square` or `ops.abs`.
        network: a built network.
        objective: `objective(features, y, weight) -> scalar`, the sum over the rows of
            features (b, width) and y (b, …) under weights (b,).
        variables: those of the network that gradients are taken by.
        state: every variable that the outcome depends on.
        xla: whether to compile with XLA. None: nothing is compiled.

    Attributes:
        in_batches: whether one gradient of a batch is enough.

    Example:

    >>> layer = keras.layers.Dense(1, use_bias=False)
    >>> network = keras.Sequential([keras.Input((1,)), layer])
    >>> weights = network.trainable_variables
    >>> def total(features, y, weight):
    ...     return ops.sum(weight[:, None] * features)
    >>> x = np.array([[1.0], [-3.0]], "float32")
    >>> found = ExampleGradients(ops.square, network, total, weights, weights)
    >>> found.mean(x, x)[0].tolist()    # (1 + 9) / 2
    [[5.0]]
    """

    def __init__(
        self,
        of: Callable,
        network: keras.Model,
        objective: Callable,
        variables: list,
        state: list,
        xla: bool | None = False,
    ):
        self._of, self._network, self._objective = of, network, objective
        self._variables = list(variables)
        self._graph = Graph(network) if is_graph(network) else None
        self._dense = _dense_layers(self._graph, self._variables)
        self.in_batches = bool(self._dense)
        self._added: dict[str, Any] = {}  # to what each layer makes, before activation
        step = self._of_one
        if self.in_batches:
            self._added = {
                path: keras.Variable(np.zeros((ROWS, layer.units), "float32"))
                for path, layer in self._dense.items()
            }
            step = self._of_batch
        everything = [*self._variables, *state, *self._added.values()]
        unique = list({id(v): v for v in everything}.values())
        self._run = backend.compile_loop(step, unique, xla, _ignore)

    def mean(self, x: Any, y: np.ndarray) -> list[np.ndarray]:
        """The mean over examples, in the shapes of the variables.

        Args:
            x: inputs (n, …), n at least 1, or `Columns` of them.
            y: labels (n, …).
        """
        count = steps = len(y)
        if self.in_batches:
            steps = -(-count // ROWS)
            rows = np.arange(steps * ROWS) % count  # the last are filled up
            x, y = columns.each(lambda a: a[rows], x), y[rows]
        total = self._run(
            ops.convert_to_tensor(steps, "int32"),
            [ops.zeros(v.shape, "float32") for v in self._variables],
            columns.plain(columns.each(ops.convert_to_tensor, x)),
            ops.convert_to_tensor(y),
            ops.convert_to_tensor(count, "int32"),
        )
        return [ops.convert_to_numpy(t) / count for t in total]

    def _of_one(self, gradients_of, i, carry, x, y, count):
        del count

        def cost():
            one, label = keras.tree.map_structure(
                lambda a: ops.expand_dims(a[i], 0), (x, y)
            )
            features = ops.cast(self._network(one, training=False), "float32")
            value = self._objective(features, label, ops.ones((1,), "float32"))
            return value, value

        _, gradients = gradients_of(cost, self._variables)
        return [c + self._of(g) for c, g in zip(carry, gradients, strict=True)]

    def _of_batch(self, gradients_of, i, carry, x, y, count):
        rows = i * ROWS + ops.arange(ROWS, dtype="int32")
        x, y = keras.tree.map_structure(lambda a: ops.take(a, rows, axis=0), (x, y))
        weight = ops.cast(rows < count, "float32")

        def cost():
            given = {}

            def call(step, *args, **kwargs):
                layer = self._dense.get(step.path)
                if layer is None:
                    return step(*args, **kwargs)
                given[step.path] = args[0]
                z = ops.matmul(args[0], layer.kernel)
                z = z + layer.bias if layer.use_bias else z
                return layer.activation(z + self._added[step.path])

            features = ops.cast(self._graph.run(x, call), "float32")
            return self._objective(features, y, weight), given

        (_, given), deltas = gradients_of(cost, list(self._added.values()))
        found = {}
        for (path, layer), delta in zip(self._dense.items(), deltas, strict=True):
            delta = self._of(delta)
            inputs = self._of(ops.cast(given[path], "float32"))
            found[id(layer.kernel)] = ops.matmul(ops.transpose(inputs), delta)
            if layer.use_bias:
                found[id(layer.bias)] = ops.sum(delta, axis=0)
        return [c + found[id(v)] for c, v in zip(carry, self._variables, strict=True)]


def _dense_layers(graph: Graph | None, variables) -> dict[str, Any]:
    """The dense layers that variables are of, by path; none if some are of others.

    Each is called once, on (batch, d), computes in float32, and no row of a batch has a
    part in another's outputs.
    """
    if graph is None or any(map(rows_meet, graph.steps)):
        return {}
    found: dict[str, Any] = {}
    wanted = {id(v) for v in variables}
    for path, layer in graph.layers.items():
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        if isinstance(layer, keras.Layer) and mixes_rows(layer) and not normalises:
            return {}
        own = wanted & {id(v) for v in getattr(layer, "variables", ())}
        if not own:
            continue
        steps = graph.steps_of(path)
        if type(layer) is not keras.layers.Dense or len(steps) != 1:
            return {}
        flat = len(steps[0].inputs) == 1 and len(steps[0].inputs[0].shape) == 2
        if not flat or layer.dtype_policy.name != "float32" or _has_more(layer):
            return {}
        found[path] = layer
        wanted -= own
    return {} if wanted else found


def _has_more(layer) -> bool:
    """Whether a dense layer has more than a kernel and a bias, as LoRA adds."""
    plain = [layer.kernel, layer.bias] if layer.use_bias else [layer.kernel]
    return {id(v) for v in layer.variables} != {id(v) for v in plain}


def _ignore():
    """These loops are not training functions, and not counted as such."""
