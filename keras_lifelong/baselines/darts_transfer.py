"""DARTSTransfer: which layers a task shares, by differentiable architecture search.

A baseline of LASEM (Lee, Behpour, Eaton: Sharing Less is More, ICML 2021, Table 1), by
DARTS (Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search, ICLR 2019).
While it is searched a layer gives p f_shared(h) + (1 - p) f_own(h), p = softmax(α)_0;
what has the larger α in the end is chosen.
"""

from __future__ import annotations

from typing import Annotated
from typing import Literal

import keras
import numpy as np
from keras import ops

from keras_lifelong.checks import AtLeast
from keras_lifelong.checks import In
from keras_lifelong.checks import Seed
from keras_lifelong.methods.lasem.choosing_model import ChoosingModel
from keras_lifelong.methods.lasem.choosing_model import traced
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed
from keras_lifelong.streams.forms import is_dataset
from keras_lifelong.training.data import filled
from keras_lifelong.training.replay import Draws


@register
class DARTSTransfer(ChoosingModel):
    """Searches by gradient, for every task, which layers to share with other tasks.

    Every searched layer is there twice, to share and the task's own, as in `LASEM`. In
    the search both are mixed by softmax(α), after their activations; in each step the
    weights go down the loss of training data and α that of data held out from them
    (first order: the weights that α is judged by do not follow it). Then the argmax is
    taken, the weights are put back to where they were, and the chosen configuration is
    trained. As in `LASEM`, layers that are not shared leave the shared ones as they
    were before the task, and what is not used is dropped.

    The program behind LASEM's Table 1 holds no data out and does not train anew: that
    is `held_out=0` and `retrain=False`.

    Departures: a step of α and one of the weights are taken from the same point, not
    one after the other, and by the same optimizer. The second order of DARTS is left
    out: the program has it, but not as its default. Batch normalisation has the
    statistics of the mixture until the chosen configuration is trained.

    Args:
        backbone, sharing, searched, groups: see `LASEM`.
        held_out: part of the training data by which α is trained, in [0, 1). Of a
            `tf.data.Dataset` none can be held out. 0: α is trained by the same batches
            as the weights.
        held_out_batch: held-out examples for a step of α, at least 1.
        search_epochs: epochs of the search. None: those of `fit`.
        retrain: whether the chosen configuration is trained from the start, for the
            epochs of `fit`. False: it goes on as the search left it.
        orthogonality, continue_schedule: see `LASEM`.
        seed, pretrained, name: see `LASEM`.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if a layer
            cannot be carried, naming it; if a task is of too few examples for some of
            them to be held out.
    """

    def __init__(
        self,
        backbone,
        sharing: Literal["hps", "tf", "dfcnn"] = "hps",
        searched: list[str] | None = None,
        groups: list[Annotated[int, AtLeast(1)]] | list[list[str | int]] | None = None,
        held_out: Annotated[float, In(0, 1, open_high=True)] = 0.5,
        held_out_batch: Annotated[int, AtLeast(1)] = 32,
        search_epochs: Annotated[int, AtLeast(1)] | None = None,
        retrain: bool = True,
        orthogonality: Annotated[float, AtLeast(0)] = 0.1,
        continue_schedule: bool = True,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(DARTSTransfer, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def build_network(self, backbone):
        o = self.options
        network = super().build_network(
            backbone, o.sharing, o.searched, o.groups, "factorised"
        )
        shape = self.belief.shape  # (choices, 2): to share, and not to
        self.alpha = keras.Variable(np.zeros(shape, "float32"), name="alpha")
        self._draws = Draws(0)  # each phase begins from a seed of its own
        return network

    def active_variables(self):
        return [*super().active_variables(), self.alpha, self._draws.state]

    def learn(self, task):
        name = task.name
        if "configuration" in self.notes(name):  # a task that comes back
            used = self.used_variables(self.configuration(name))
            yield from self.trained(self.static_phase("training", used))
            return
        self.log_initial(name)
        before, start = self.shared_values(), self.get_active()
        self.alpha.assign(np.zeros(self.alpha.shape, "float32"))
        self.posterior.assign(self.belief.uniform())
        result = yield from self.trained(self.searching(task))
        found, alpha = self.likely(), ops.convert_to_numpy(self.evidence).copy()
        if self.options.retrain:
            self.set_active(start)
            self.evidence.assign(alpha)
            used = self.used_variables(self.configuration(name))
            yield from self.trained(self.static_phase("training", used))
        self.keep(name, before)
        self.log_choices(name, found, traced(result))

    def searching(self, task):
        """The phase that trains the mixture of all configurations, and α."""
        parts: dict = {}
        if self.options.held_out:
            train, weights, held_out = self.halves(task)
            parts = {"data": train, "weights": weights, "arguments": held_out}
            parts["gradients_with"] = self.by_held_out
        return self.phase(
            "differentiable search",
            [self.alpha, *self.network.trainable_variables],
            loss=self.mixed_loss,
            penalty=self.penalty if self.options.sharing == "tf" else None,
            shares=self.regularized,
            after_step=self.follow,
            observe=self.observe,
            epochs=self.options.search_epochs,
            **parts,
        )

    def halves(self, task) -> tuple:
        """What the weights are trained on, how much each counts, and what α is."""
        x, y = task.train
        seed = derive_seed(self.seed, task.name, "halves")
        order = np.random.default_rng(seed).permutation(len(y))
        count = self.held_out_count(len(y))
        held, rest = order[:count], order[count:]
        weight, ones = task.weight, np.ones(count, "float32")
        held_out = {
            "x": filled(x[held]),
            "y": filled(y[held]),
            "weight": filled(ones if weight is None else weight[held]),
            "count": np.int32(count),
        }
        return (x[rest], y[rest]), None if weight is None else weight[rest], held_out

    def held_out_count(self, examples: int) -> int:
        """How many of so many examples are held out."""
        return round(self.options.held_out * examples)

    # What is compiled

    def mixed_loss(self, x, y, weight, arguments):
        """The task's loss where every layer is a mixture."""
        del arguments
        shared = ops.softmax(ops.convert_to_tensor(self.alpha))[:, 0]
        features = self.network.mixed(x, shared, training=True)
        return self.head_loss(y, self.head(features), weight)

    def by_held_out(self, gradients, weights, arguments, gradients_of):
        """The gradient of α, which comes first, is that of held-out data."""
        del weights
        rows = self._draws.rows(self.options.held_out_batch, arguments["count"])
        x, y, weight = (
            ops.take(arguments[part], rows, axis=0) for part in ("x", "y", "weight")
        )
        share = ops.mean(weight)  # as in the trainer: where none counts it is 0
        weight = ops.where(share > 0, weight, 1.0)

        def objective():
            loss = share * self.mixed_loss(x, y, weight, arguments)
            return loss, loss

        return [*gradients_of(objective, [self.alpha])[1], *gradients[1:]]

    def follow(self, before, weights, arguments, learning_rate):
        """The configuration in use follows α, and so does what regularizers count."""
        del before, arguments, learning_rate
        alpha = ops.convert_to_tensor(weights[0])
        self.evidence.assign(alpha)
        self.posterior.assign(ops.softmax(alpha))
        return weights

    def observe(self, finished: bool) -> dict:
        """softmax(α) as it is, for the log."""
        del finished
        return {"prior": self.likely().tolist()}

    def likely(self) -> np.ndarray:
        """softmax(α) to four places: compiled steps differ in the eighth."""
        return ops.convert_to_numpy(self.posterior).astype("float64").round(4)

    def check_settings(self, task, settings):
        known = task.name in self.task_names and self.notes(task.name)
        if not self.options.held_out or "configuration" in (known or {}):
            return
        if is_dataset(task.train):
            raise ValueError(
                f"Task {task.name!r} is a tf.data.Dataset, from which DARTSTransfer "
                "holds nothing out. Pass arrays, or make the model with `held_out=0`."
            )
        examples = len(task.train[1])
        if not 0 < self.held_out_count(examples) < examples:
            raise ValueError(
                f"`held_out` must leave examples on both sides. Received: "
                f"{self.options.held_out!r} and task {task.name!r} of {examples} "
                "examples."
            )
