"""TRGP: Trust Region Gradient Projection for Continual Learning.

Lin, Yang, Fan, Zhang, ICLR 2022: where the gradient of a task lies in the space S of
inputs of an old one, ‖Proj_S(∇L)‖ ≥ ε ‖∇L‖ (Eq. 4), the old task is trusted: its part
of the weights is scaled, W_eff = W + Σ_j S_j (Q_j - I) S_jᵀ W, and Q is learned (Eq. 5
to 7). W itself is learned as in GPM, at a right angle to all spaces.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.baselines.projecting import Projecting
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import In
from keras_lifelong.checks import Seed
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.reading import joined_array
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.data import power_of_two
from keras_lifelong.training.importance import examples_of
from keras_lifelong.training.masks import call_with
from keras_lifelong.training.projection import chosen_directions
from keras_lifelong.training.projection import parts_of
from keras_lifelong.training.projection import rows_of

ROWS, CHANGE = "rows", "change"


class Scales:
    """Variables for Q of the layers, by size, used again from task to task."""

    def __init__(self):
        self._kept: dict[tuple, Any] = {}

    def get(self, layer: int, tasks: int, size: int):
        """Q of some tasks, (tasks, size, size)."""
        key = (layer, tasks, size)
        if key not in self._kept:
            ones = np.tile(np.eye(size, dtype="float32"), (tasks, 1, 1))
            self._kept[key] = keras.Variable(ones, name=f"scale_{layer}")
        return self._kept[key]

    def begin(self, layer: int, tasks: int, size: int):
        """The same, each of them I."""
        variable = self.get(layer, tasks, size)
        variable.assign(np.tile(np.eye(size, dtype="float32"), (tasks, 1, 1)))
        return variable


class Changes:
    """Σ_j S_j (Q_j - I) S_jᵀ W, made once and kept while what it is made of stays."""

    def __init__(self):
        self._kept: dict[tuple, tuple] = {}

    def get(self, key: tuple, basis, rows, change) -> np.ndarray:
        """The change of a layer's weights, (d, outputs).

        Args:
            key: the task's name, and the layer's number.
            basis: M, (d, directions).
            rows: which directions (n,).
            change: for each of them (n, outputs).
        """
        kept = self._kept.get(key)
        if kept is None or kept[0][0] is not rows or kept[0][1] is not change:
            if not all(0 <= row < basis.shape[1] for row in rows):
                raise ValueError(
                    f"task {key[0]!r} scales directions {rows.tolist()} of layer "
                    f"{key[1]}, which has {basis.shape[1]}"
                )
            whole = basis[:, rows].astype("float64") @ change.astype("float64")
            kept = ((rows, change), whole.astype("float32"))
            self._kept[key] = kept
        return kept[1]

    def forget(self, name: str) -> None:
        """Lets go of those of a task."""
        for key in [key for key in self._kept if key[0] == name]:
            del self._kept[key]


def itself(gradient):
    """A gradient as it is, for `mean_of_gradients`."""
    return gradient


@register
class TRGP(Projecting):
    """Reuses weights of related tasks by scaling them, on top of GPM's projection.

    Before a task is trained, the gradient of its loss on some examples is projected
    onto the space S_j of each old task, layer by layer; of those that hold at least
    `trust` of its length, the `related` with the longest are trusted. S_j are columns
    of GPM's M: a task's are the fewest of the old directions and of new ones, ranked
    together, that hold ε of its inputs, and M grows by the new ones alone.

    Of a task (Q_j - I) S_jᵀ W is kept, summed over the tasks it trusts, in place of Q:
    S_jᵀ W never changes again, so it is the same, and it is counted in `count_params`.
    A bias is the weight of one more input, always 1, and the whole step is projected;
    normalisation is each task's own: see `GPM`.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        threshold: ε of the first task's inputs, in [0, 1]; a list has one for each
            layer that is projected, from the input on.
        increase: by how much it is larger with each task, at least 0; it ends at 1.
        samples: how many training examples gradient and inputs are taken from.
        trust: ε of Eq. 4, which share of the gradient's length, in [0, 1].
        related: K, how many tasks a layer trusts at most, at least 1.
        seed, pretrained, name: see `LifelongModel`.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if there is a
            trained layer that is neither dense, convolutional nor normalisation, or a
            weight with a constraint; if `threshold` is a list of another length than
            there are layers to project; when a task is learned, if the optimizer is
            `ScheduleFreeAdamW`.
    """

    task_forms = (
        ("space", str, int),
        *(("scaled", str, int, part) for part in (ROWS, CHANGE)),
    )

    def __init__(
        self,
        backbone,
        threshold: Annotated[float, In(0, 1)] | list[Annotated[float, In(0, 1)]] = 0.95,
        increase: Annotated[float, AtLeast(0)] = 0.003,
        samples: Annotated[int, AtLeast(1)] = 300,
        trust: Annotated[float, In(0, 1)] = 0.5,
        related: Annotated[int, AtLeast(1)] = 2,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(TRGP, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def build_network(self, backbone):
        self._scales, self._changes = Scales(), Changes()
        return super().build_network(backbone)

    def learn(self, task):
        shared, bases = self.network.trainable_variables, self.bases()
        self.forget_scales(task.name)
        if any(m.shape[1] for m in bases):
            yield self.scaled_phase(task, shared, bases)
        else:
            yield self.phase("training", shared)
        with self.read(task.name):  # what layers are given follows from W_eff
            moments = self.moments(task)
        for i, (basis, moment) in enumerate(zip(bases, moments, strict=True)):
            share = self.share(task.name, i)
            found = chosen_directions(basis, moment, share)
            self.memory["gpm", i], self.memory["space", task.name, i] = found

    # The trust region

    def trusted(self, task, bases) -> list[list[np.ndarray]]:
        """Of each layer the columns of M that are S_j, of each task that it trusts."""
        others = [name for name in self.task_names if name != task.name]
        found = []
        for i, gradient in enumerate(self.gradients_of(task)):
            kept = [self.memory.get(("space", name, i)) for name in others]
            spaces = [space for space in kept if space is not None and space.size]
            along = bases[i].T @ gradient  # Mᵀ G, whose rows are those of all S_jᵀ G
            lengths = [float(np.linalg.norm(along[space])) for space in spaces]
            least = self.options.trust * float(np.linalg.norm(gradient))
            best = sorted(range(len(spaces)), key=lambda j: -lengths[j])  # noqa: B023
            best = [j for j in best[: self.options.related] if lengths[j] >= least]
            found.append([spaces[j] for j in best])
        return found

    def gradients_of(self, task) -> list[np.ndarray]:
        """∇L of each layer on some examples of a task, (d, outputs)."""
        rng = np.random.default_rng(derive_seed(self.seed, task.name, "gradient"))
        x, y = examples_of(task, self.options.samples, rng)
        layers = [x.trainable_variables for x in self._projected.layers.values()]
        flat = [v for variables in layers for v in variables]
        means = iter(self.trainer.mean_of_gradients(itself, self.surprise, x, y, flat))
        found = [[next(means) for _ in variables] for variables in layers]
        return [ops.convert_to_numpy(rows_of(parts)) for parts in found]

    def surprise(self, features, y, weight):
        """The loss of examples by their features (n, width), a sum."""
        return self.head_loss(y, self.head(features), weight) * ops.sum(weight)

    # Scaled weight projection

    def scaled_phase(self, task, shared, bases):
        trusted, spaces, products, scales = self.trusted(task, bases), [], [], []
        most = max(power_of_two(len(self.task_names)), 2)  # few sizes to compile
        most = min(self.options.related, most)
        for i, layer in enumerate(self._projected.layers.values()):
            weights = ops.convert_to_numpy(rows_of(layer.trainable_variables))
            size = power_of_two(max([space.size for space in trusted[i]], default=1))
            size = min(size, len(weights))
            s = np.zeros((most, len(weights), size), "float32")
            for j, columns in enumerate(trusted[i]):
                s[j, :, : columns.size] = bases[i][:, columns]
            spaces.append(s)
            products.append(s.transpose(0, 2, 1) @ weights)  # Sᵀ W, which stays so
            scales.append(self._scales.begin(i, most, size))
        return self.phase(
            "training within trust regions",
            [*shared, *scales],
            loss=self.scaled_loss,
            after_step=self.project,
            state=[*self.active_variables(), *scales],
            arguments={
                "projectors": [m @ m.T for m in bases],
                "spaces": spaces,
                "products": products,
            },
            publish=lambda: self.keep_scales(task.name, trusted, products, scales),
        )

    def scaled_loss(self, x, y, weight, arguments):
        """The task's loss under W + Σ_j S_j (Q_j - I) S_jᵀ W."""
        replaced = {}
        layers = self._projected.layers.values()
        triples = zip(layers, arguments["spaces"], arguments["products"], strict=True)
        for i, (layer, space, product) in enumerate(triples):
            tasks, _, size = space.shape
            scale = self._scales.get(i, tasks, size)
            change = ops.matmul(space, ops.matmul(scale - ops.eye(size), product))
            variables = layer.trainable_variables
            parts = parts_of(ops.sum(change, axis=0), variables)
            for v, part in zip(variables, parts, strict=True):
                replaced[id(v)] = ops.convert_to_tensor(v) + part
        features = call_with(self.network, replaced, x, training=True)
        return self.head_loss(y, self.head(features), weight)

    def keep_scales(self, name, trusted, products, scales) -> None:
        """Keeps Σ_j (Q_j - I) S_jᵀ W of each layer, a row for each direction of M."""
        for i, tasks in enumerate(trusted):
            if not tasks:
                continue
            rows = np.unique(np.concatenate(tasks))
            change = np.zeros((rows.size, products[i].shape[-1]), "float32")
            for j, columns in enumerate(tasks):
                scale = ops.convert_to_numpy(scales[i])[j]
                more = (scale - np.eye(len(scale), dtype="float32")) @ products[i][j]
                change[np.searchsorted(rows, columns)] += more[: columns.size]
            self.memory["scaled", name, i, ROWS] = rows.astype("int32")
            self.memory["scaled", name, i, CHANGE] = change

    def forget_scales(self, name) -> None:
        """A task that comes back begins with Q = I."""
        for i in range(len(self._projected.layers)):
            for part in (ROWS, CHANGE):
                self.memory.pop(("scaled", name, i, part), None)

    # Using a task

    def reading(self, name):
        reading, training = super().reading(name), self._session.training
        mine = training is None or training.is_mine
        if self.active_task == name and mine:  # else `reading_of` has it already
            return self.effective(reading, name, self.memory)
        return reading

    def reading_of(self, name, memory, training=None):
        reading = super().reading_of(name, memory, training)
        return self.effective(reading, name, memory)

    def active_logits(self, x):
        return joined_array(self.read_outputs(self.active_task, x, logits=True))

    def effective(self, reading, name, memory):
        """A reading under W_eff of a task in place of W."""
        values = list(reading.values)
        place = {id(v): p for p, v in enumerate(reading.variables)}
        for i, layer in enumerate(self._projected.layers.values()):
            if ("scaled", name, i, CHANGE) not in memory:
                continue
            rows, change = (memory["scaled", name, i, p] for p in (ROWS, CHANGE))
            variables = layer.trainable_variables
            whole = self._changes.get((name, i), memory["gpm", i], rows, change)
            for v, part in zip(variables, parts_of(whole, variables), strict=True):
                now = values[place[id(v)]]
                now = backend.snapshot([v])[0] if now is None else now
                values[place[id(v)]] = ops.add(now, part)
        return dataclasses.replace(reading, values=values)

    def release(self, name):
        super().release(name)
        self._changes.forget(name)

    def task_params(self):
        kept = self.memory.records.values()
        scaled = [v for r in kept for key, v in r.arrays.items() if key[-1] == CHANGE]
        return super().task_params() + sum(v.size for v in scaled)
