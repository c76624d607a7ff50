"""Attention over features that one network gives under the gates of several tasks.

Ke, Liu, Huang: Continual Learning of a Mixed Sequence of Similar and Dissimilar Tasks,
NeurIPS 2020: what CAT calls knowledge transfer attention.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers
from keras import ops

from keras_lifelong.networks import free_name


class Attending(layers.Layer):
    """Stands for a network where a task attends to what others make of its inputs."""

    def __init__(self, network: keras.Model):
        super().__init__()
        self.network = network


class FeatureAttention:
    """What a task hears of features h_k (batch, width) of other tasks.

    With a_k = softmax_k(q · h_k K / √d) it is Σ a_k h_k V U, which is 0 as it begins,
    since U is.

    Args:
        network: whose features these are.
        units: of each gated layer.
        room: for how many other tasks there is room, at least 1.
        inner: d, at least 1.

    Attributes:
        body: an `Attending`, for a `Reading`.
        gates: of each gated layer (room, units): those of the other tasks.
        present: (room,): 1 where there is a task, else 0.
        trained: q (d,), K and V (width, d), U (d, width).
        variables: all of these, in this order.
    """

    def __init__(self, network: keras.Model, units: list[int], room: int, inner: int):
        self.body = Attending(network)
        self.room, self.inner = room, inner
        width = int(network.output_shape[-1])

        def kept(shape, name, trainable):
            zeros = np.zeros(shape, "float32")
            return keras.Variable(zeros, trainable=trainable, name=name)

        self.gates = [kept((room, n), "heard_gates", False) for n in units]
        self.present = kept((room,), "heard", False)
        shapes = {
            "query": (inner,),
            "key": (width, inner),
            "value": (width, inner),
            "output": (inner, width),
        }
        self.trained = [kept(shape, name, True) for name, shape in shapes.items()]
        self.variables = [*self.gates, self.present, *self.trained]

    def initial(self, gates: list[list[np.ndarray]], rng) -> list[np.ndarray]:
        """Values of `variables` to begin with.

        Args:
            gates: of each task that is heard, of each gated layer, (units,); from one
                to `room` tasks.
            rng: draws q and, uniformly (Glorot), K and V.
        """
        found = []
        for i, v in enumerate(self.gates):
            rows = np.zeros(v.shape, "float32")
            rows[: len(gates)] = [of_layers[i] for of_layers in gates]
            found.append(rows)
        present = (np.arange(self.room) < len(gates)).astype("float32")
        found += [present, rng.normal(size=self.inner).astype("float32")]
        for v in self.trained[1:3]:
            bound = np.sqrt(6 / sum(v.shape))
            found.append(rng.uniform(-bound, bound, v.shape).astype("float32"))
        return [*found, np.zeros(self.trained[3].shape, "float32")]

    def heard(self, features: list):
        """What is heard (batch, width), float32, of `room` tasks' features."""
        query, key, value, output = (ops.convert_to_tensor(v) for v in self.trained)
        h = ops.stack([ops.cast(x, "float32") for x in features], axis=1)
        asked = ops.matmul(key, query[:, None]) * self.inner**-0.5
        closed = 1e9 * (ops.convert_to_tensor(self.present) - 1)
        scores = ops.matmul(h, asked) + closed[:, None]
        share = ops.exp(scores - ops.max(scores, axis=1, keepdims=True))
        mixed = ops.sum(share * h, axis=1) / ops.sum(share, axis=1)
        return ops.matmul(ops.matmul(mixed, value), output)

    def arrays(self) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
        """Of each task that is heard the gates of each layer; and q, K, V, U."""
        count = int(ops.convert_to_numpy(self.present).sum())
        gates = [ops.convert_to_numpy(v) for v in self.gates]
        trained = [ops.convert_to_numpy(v) for v in self.trained]
        return [[rows[k] for rows in gates] for k in range(count)], trained


def plain_attention(network: keras.Model, trained: list[np.ndarray]) -> keras.Model:
    """A plain model of features and what is heard, made of Keras' layers.

    Args:
        network: its outputs (batch, width) are a task's own features, and those of the
            tasks that it hears, one or more.
        trained: q, K, V and U.
    """
    query, key, value, output = trained
    own, *others = network.outputs
    count, width = len(others), own.shape[-1]

    def named(part):
        return {"name": free_name(f"heard_{part}", network), "dtype": "float32"}

    def product(x, kernel, part):
        layer = layers.Dense(kernel.shape[1], use_bias=False, **named(part))
        layer.build(x.shape)
        layer.set_weights([kernel])
        return layer(x)

    mixed = others[0]
    if count > 1:
        rows = [
            layers.Reshape((1, width), **named(f"features_{k}"))(x)
            for k, x in enumerate(others)
        ]
        h = layers.Concatenate(axis=1, **named("features"))(rows)
        asked = (key @ query[:, None]) * len(query) ** -0.5
        share = layers.Softmax(axis=1, **named("share"))(product(h, asked, "score"))
        mixed = layers.Multiply(**named("weighed"))([h, share])
        mixed = layers.GlobalAveragePooling1D(**named("mean"))(mixed)  # sum over count
    found = product(product(mixed, count * value, "value"), output, "output")
    return keras.Model(network.input, layers.Add(**named("sum"))([own, found]))
