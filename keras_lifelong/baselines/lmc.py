"""LMC: modules that say for themselves how well they know what they are given.

Ostapenko, Rodríguez, Caccia, Charlin: Continual Learning via Local Module Composition,
NeurIPS 2021. Of each module m a structural component s_m gives back the module's input
from its output; γ_m = |h - s_m(f_m(h))|². A layer gives Σ_m w_m f_m(h), where
w = softmax(-log γ / τ). Where the γ of all modules of a layer are outliers, it gets a
new one.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong.checks import Above
from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import Seed
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.routes.modular import Pool
from keras_lifelong.routes.modular_model import ModularModel
from keras_lifelong.routes.modular_model import drawn_value
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import without_seed_states
from keras_lifelong.training.importance import examples_of

K = keras.layers
_TRANSPOSED = {
    K.Conv1D: K.Conv1DTranspose,
    K.Conv2D: K.Conv2DTranspose,
    K.Conv3D: K.Conv3DTranspose,
}


@register
class LMC(ModularModel):
    """Composes modules by how well each of them gives back what it was given.

    From the input up, a layer gets a new module for a task if the γ of all its modules
    are outliers, by their z-scores. It begins as the one of the smallest γ. In the
    *projection phase* the structural components above, which stay as they are, train
    it as well, to give what modules there know. Then all new modules are trained, and
    fixed. No layer needs a task's name to compose its modules; it is the head, and
    normalisation, that are a task's own.

    Departures: what is an outlier is decided once, before a task is trained, from γ
    over its examples, where the program looks at each batch; μ and σ of γ are taken
    when a module is fixed, over the task's examples. While a task is learned its new
    modules work alone in their layers. A structural component is one dense layer, or
    one transposed convolution, where the program has two with normalisation between.
    The bias towards what the rest of a batch chooses is left out: a row's answer would
    depend on the others. Heads are of named tasks, as everywhere here.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers; those with
            weights Dense, Conv1D, Conv2D or Conv3D with channels last, frozen ones and
            normalisation apart.
        threshold: z-score above which γ is an outlier, above 0. The paper's are 1.5
            to 4.
        temperature: τ, above 0.
        strength: of the structural losses beside the task's, at least 0.
        projection_epochs: of each projection phase, at least 1.
        batch: of so many examples is the mean of γ whose z-score is taken, at least 1.
        samples: examples of a task by which γ is judged, at least 1.
        compete: whether new modules take part in earlier tasks, too, as in the paper,
            whose tasks have no names there. False: a task keeps those that it was
            learned with, and nothing is forgotten.
        seed, pretrained, name: see `LifelongModel`. With `pretrained` the first task's
            modules begin with the backbone's weights.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if a layer
            cannot be carried, naming it.
    """

    def __init__(
        self,
        backbone,
        threshold: Annotated[float, Above(0)] = 4.0,
        temperature: Annotated[float, Above(0)] = 0.1,
        strength: Annotated[float, AtLeast(0)] = 1.0,
        projection_epochs: Annotated[int, AtLeast(1)] = 5,
        batch: Annotated[int, AtLeast(1)] = 64,
        samples: Annotated[int, AtLeast(1)] = 1000,
        compete: bool = True,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(LMC, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def pool_of(self, network):
        return LocalPool(network, self.copied, type(self).__name__)

    def mixer(self, pool, place, count):
        decoders = [pool.decoder(place, k) for k in range(count)]
        return Local(place, decoders, self.options.temperature)

    def learn(self, task):
        name, places = task.name, range(len(self.pool.paths))
        if "learned" in self.notes(name):  # a task that comes back keeps its modules
            yield self.local_phase("training", self.local_loss)
            self.fix(task)
            return
        new, found = [False for _ in places], []
        if any(self.others_modules(name)):
            for place in places:
                scores, likely = self.deviations(task, place)
                found.append(scores)
                if min(scores) <= self.options.threshold:
                    continue
                new[place] = True
                self.add(name, place, new, likely)
                if place != places[-1]:
                    yield self.local_phase(
                        "projection",
                        self.projection_loss,
                        epochs=self.options.projection_epochs,
                    )
        yield self.local_phase("training", self.local_loss)
        self.fix(task)
        self.log_modules(name)
        if found:
            self.log(name, "modules", "deviation", 0, scores=found)
        self.notes(name)["learned"] = True
        if self.options.compete:
            self.store_active()
            for other in self.task_names:
                self.notes(other)["modules"] = self.modules(name)

    def local_phase(self, name: str, loss, **kwargs):
        """A phase of the new modules, what is the task's own and its head."""
        return self.phase(name, self.network.trainable_variables, loss=loss, **kwargs)

    # Outliers

    def errors(self, x):
        """γ of all modules, those of a layer side by side: (batch, modules)."""
        seen = Seen()
        self.network.current().followed(x, False, seen)
        return ops.concatenate([seen.of(p) for p in range(len(self.pool.paths))], -1)

    def errors_of(self, task, place: int) -> np.ndarray:
        """γ of the modules of a layer on examples of a task, (samples, modules)."""
        rng = np.random.default_rng(derive_seed(self.seed, task.name, "errors"))
        x, _ = examples_of(task, self.options.samples, rng)
        counts = [len(ids) for ids in self.modules(task.name)]
        start = sum(counts[:place])
        found = self.trainer.forward(self.errors, x)
        return found[:, start : start + counts[place]].astype("float64")

    def deviations(self, task, place: int) -> tuple[list[float], int]:
        """z-scores of a layer's modules on a task, and which has the smallest γ."""
        means = self.errors_of(task, place).mean(0)
        modules = self.network.current().module_variables()[place]
        scores = []
        for mean, variables in zip(means, modules, strict=True):
            mu, sigma = ops.convert_to_numpy(variables[-1]).astype("float64")
            of_batch = max(sigma, 1e-12) / np.sqrt(self.options.batch)
            scores.append(float(abs(mean - mu) / of_batch))
        return scores, int(means.argmin())

    def add(self, name: str, place: int, new: list[bool], likely: int) -> None:
        """Gives a layer a new module, which begins as another one of the task's."""
        self.activate(None)
        source = self.modules(name)[place][likely]
        modules = self.extended(name, new)
        for i in range(len(self.pool.variables(place))):
            value = self.memory["module", place, source, i]
            self.memory["module", place, modules[place][-1], i] = value.copy()
        self.begin(name, modules)
        self.activate(name)

    def fix(self, task) -> None:
        """Takes μ and σ of the γ of the new modules."""
        body = self.network.current()
        for place, new in enumerate(body.trained()):
            if new:
                errors = self.errors_of(task, place)[:, -1]
                found = np.array([errors.mean(), errors.std()], "float32")
                body.module_variables()[place][-1][-1].assign(found)

    def first_of_module(self, key, drawn, variable):
        _, place, number, i = key
        if i < len(drawn[place]):
            return drawn[place][i]
        return drawn_value(
            variable, derive_seed(self.seed, "decoder", place, number, i)
        )

    # Losses

    def local_loss(self, x, y, weight, arguments):
        """The task's loss, and γ of the new modules, by which their s_m are trained."""
        return self.loss_with(x, y, weight, ())

    def projection_loss(self, x, y, weight, arguments):
        """As `local_loss`, and what the layers above the new modules make of them."""
        trained = self.network.current().trained()
        last = max(place for place, new in enumerate(trained) if new)
        return self.loss_with(x, y, weight, range(last + 1, len(trained)))

    def loss_with(self, x, y, weight, above):
        """The task's loss and the structural ones, some of layers above as well."""
        body = self.network.current()
        trained = body.trained()
        alone = {place for place, new in enumerate(trained) if new}
        seen = Seen(alone, set(above))
        loss = self.head_loss(y, self.head(body.followed(x, True, seen)), weight)
        total = 0.0
        for place in alone:
            total = total + _mean(seen.of(place)[:, -1], weight)
        for place in above:
            total = total + _mean(ops.sum(seen.weighted(place), axis=-1), weight)
        return loss + self.options.strength * total


class LocalPool(Pool):
    """Modules, each with its structural component and the μ and σ of its γ."""

    def __init__(self, network, copied, method):
        super().__init__(network, copied, method)
        layers = self.graph.layers
        for path in self.paths:
            _check(layers[path], path, method)
        self._decoders: dict[tuple[int, int], Any] = {}
        self._statistics: dict[tuple[int, int], keras.Variable] = {}

    def decoder(self, place: int, slot: int) -> Any:
        """s_m: a layer that gives back a module's input from its output."""
        key = (place, slot)
        if key not in self._decoders:
            step = self.graph.steps_of(self.paths[place])[0]
            layer, name = self.graph.layers[self.paths[place]], f"back_{slot}"
            width = step.inputs[0].shape[-1]
            if isinstance(layer, K.Dense):
                made = K.Dense(width, name=name)
            else:
                padding = "valid" if layer.padding == "valid" else "same"
                made = _TRANSPOSED[type(layer)](
                    width, layer.kernel_size, layer.strides, padding, name=name
                )
            made.build(step.outputs[0].shape)
            for i, v in enumerate(made.variables):  # equal models are equal unlearned
                v.assign(drawn_value(v, derive_seed(0, "decoder", place, slot, i)))
            self._decoders[key] = made
            self._statistics[key] = keras.Variable(
                np.zeros(2, "float32"), trainable=False, name=f"statistics_{slot}"
            )
        return self._decoders[key]

    def variables(self, place, slot=0):
        decoder = self.decoder(place, slot)
        own = without_seed_states(decoder.variables)
        return [*super().variables(place, slot), *own, self._statistics[place, slot]]


@dataclasses.dataclass
class Seen:
    """What a pass is to do in a layer, and what it found there, by place.

    Attributes:
        alone: places at which the last module works alone.
        flows: those from whose γ gradients go on to what the layer is given.
        found: for each place γ and w, (batch, modules), of each call.
    """

    alone: set[int] = dataclasses.field(default_factory=set)
    flows: set[int] = dataclasses.field(default_factory=set)
    found: dict[int, list[tuple]] = dataclasses.field(default_factory=dict)

    def of(self, place: int):
        """γ, the mean over the calls of a layer."""
        errors = [gamma for gamma, _ in self.found[place]]
        return sum(errors) / len(errors)

    def weighted(self, place: int):
        """w γ, the mean over the calls of a layer."""
        terms = [w * gamma for gamma, w in self.found[place]]
        return sum(terms) / len(terms)


class Local:
    """w = softmax(-log γ / τ) of the modules of a layer.

    Args:
        place: of the layer.
        decoders: s_m of each.
        temperature: τ.
    """

    def __init__(self, place: int, decoders: list, temperature: float):
        self._place, self._temperature = place, temperature
        self.layers: list = decoders
        self.own: list = []  # they are their modules', not a task's

    def parts(self, step, given, outputs, seen):
        """The modules' weights (batch, modules)."""
        del step
        flows = seen is not None and self._place in seen.flows
        target = ops.stop_gradient(given)
        errors = []
        for decoder, output in zip(self.layers, outputs, strict=True):
            back = decoder(output if flows else ops.stop_gradient(output))
            errors.append(_error(back, target))
        gamma = ops.stack(errors, axis=-1)
        weights = ops.ones_like(gamma)
        if len(outputs) > 1:
            logs = ops.log(ops.stop_gradient(gamma) + 1e-12)
            weights = ops.softmax(-logs / self._temperature, axis=-1)
        if seen is not None:
            if self._place in seen.alone:
                last = np.eye(len(outputs), dtype="float32")[-1:]
                weights = 0 * weights + ops.convert_to_tensor(last)
            seen.found.setdefault(self._place, []).append((gamma, weights))
        return weights


def _error(back, target):
    """The mean squared error of each row (batch,), over the places that both have."""
    rank = len(target.shape)
    for axis in range(1, rank - 1):
        # of a strided convolution the last places may be seen by none of its outputs
        cut = [slice(None)] * axis
        have, want = ops.shape(back)[axis], ops.shape(target)[axis]
        back = back[(*cut, slice(None, want))]
        target = target[(*cut, slice(None, have))]
    square = ops.square(ops.cast(back, "float32") - ops.cast(target, "float32"))
    return ops.mean(square, axis=list(range(1, rank)))


def _mean(values, weight):
    """The mean over rows (batch,) under sample weights."""
    return ops.sum(values * weight) / ops.sum(weight)


def _check(layer, path: str, method: str) -> None:
    kinds = (K.Dense, *_TRANSPOSED)
    first = getattr(layer, "data_format", None) == "channels_first"
    if type(layer) in kinds and not first:
        return
    raise ValueError(
        f"{method} cannot carry the layer {path!r} ({type(layer).__name__}) of "
        "`backbone`: it composes Dense, Conv1D, Conv2D and Conv3D layers with their "
        "channels last, whose input it can give back. Freeze it (trainable=False)."
    )
