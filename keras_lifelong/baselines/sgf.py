"""SGF (SG-F): frozen modules, mixed by gates of each task, and new ones on top.

Mendez, Eaton: Lifelong Learning of Compositional Structures, ICLR 2021, with soft
gating and fixed modules, as Ostapenko et al. (Continual Learning via Local Module
Composition, NeurIPS 2021) compare with on CTrL: a pool of modules for each layer, and a
search for how many layers get a new one.
"""

from __future__ import annotations

from typing import Annotated

import keras
import numpy as np
from keras import ops

from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.metrics.directions import sign
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.routes.modular_model import ModularModel

K = keras.layers


@register
class SGF(ModularModel):
    """Mixes the modules of earlier tasks by gates, and adds modules where that pays.

    A layer with weights gives Σ_m w_m f_m(h) of all modules that it has, with
    w = softmax(g(h)) by a gate that is the task's own. For every k from none to all a
    candidate with new modules in the k top layers is trained, those of earlier tasks
    held still; the best on validation data stays, of equals that of the fewest new
    modules. So nothing is forgotten.

    Departures: a gate is two dense layers on the mean of its input over places; that of
    the program is a stack of convolutions as deep as the layer. Of an input of integers
    (an embedding's) the gate is a constant. Normalisation is each task's own, and no
    part of a module. Without validation data the training data take their place. The
    program keeps of each candidate the epoch that validates best; `fit` has callbacks
    for that.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        gate_units: width of a gate's hidden layer, at least 1.
        seed, pretrained, name: see `LifelongModel`. With `pretrained` every new module
            begins with the backbone's weights.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if a layer
            cannot be carried, naming it.
    """

    def __init__(
        self,
        backbone,
        gate_units: Annotated[int, AtLeast(1)] = 16,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(SGF, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def mixer(self, pool, place, count):
        if count == 1:
            return None
        wire = pool.graph.steps_of(pool.paths[place])[0].inputs[0]
        return Gate(wire, count, self.options.gate_units)

    def learn(self, task):
        name, metric = task.name, self.main_metric
        if "learned" in self.notes(name):  # a task that comes back keeps its modules
            yield self.phase("training", self.network.trainable_variables)
            return
        split = "train" if task.validation is None else "validation"
        head = [ops.convert_to_numpy(v).copy() for v in self.head.variables]
        best, found, scores = -np.inf, None, []
        for k in self.numbers_of_new(name):
            self.activate(None)
            self.let_go(name)
            places = range(len(self.pool.paths))
            self.begin(
                name, self.extended(name, [p >= len(places) - k for p in places])
            )
            self.activate(name)
            self.set_head(head)
            yield self.phase(
                f"candidate with {k} new modules", self.network.trainable_variables
            )
            score = self.score(task, split, main_only=True)[metric.name]
            scores.append(score)
            if found is None or sign(metric) * score > best:
                self.store_active()
                best, found = sign(metric) * score, self.kept(name)
        self.put_back(name, *found)
        self.notes(name)["learned"] = True
        if len(scores) > 1:
            self.log(name, "modules", "bind", 0, candidates=scores)
        self.log_modules(name)

    def numbers_of_new(self, name: str) -> list[int]:
        """Of each candidate how many modules are new."""
        count = len(self.pool.paths)
        return list(range(count + 1)) if any(self.others_modules(name)) else [count]

    def kept(self, name: str) -> tuple:
        """The modules of a candidate, and the values of what is its own."""
        values = {}
        own = self.own_variables()
        keys = self.keys(name)
        for i in self.own_indices(name):
            values[keys[i]] = ops.convert_to_numpy(own[i]).copy()
        head = [ops.convert_to_numpy(v).copy() for v in self.head.variables]
        return self.modules(name), values, head

    def put_back(self, name: str, modules, values: dict, head: list) -> None:
        """Makes a task again the candidate that it was."""
        self.activate(None)
        self.let_go(name)
        for key, value in values.items():
            self.memory[key] = value
        self.begin(name, modules)
        self.activate(name)
        self.set_head(head)


class Gate:
    """softmax(V relu(U h̄ + a) + b), h̄ the mean of a layer's input over places.

    Args:
        wire: the layer's input.
        count: modules.
        units: of the hidden layer.
    """

    def __init__(self, wire, count: int, units: int):
        self._is_constant = not wire.dtype.startswith(("float", "bfloat"))
        self._axes = list(range(1, len(wire.shape) - 1))
        self.hidden = K.Dense(units, "relu", name="gate_hidden")
        self.weights = K.Dense(count, "softmax", name="gate")
        self.layers = self.own = [self.hidden, self.weights]

    def parts(self, step, given, outputs, seen):
        """The modules' weights (batch, count)."""
        del step, outputs, seen
        if self._is_constant:
            axes = list(range(1, len(given.shape)))
            total = ops.sum(ops.cast(given, "float32"), axis=axes, keepdims=True)
            mean = ops.reshape(ops.zeros_like(total), (-1, 1))
        else:
            mean = ops.mean(given, axis=self._axes) if self._axes else given
        return self.weights(self.hidden(mean))
