"""LASEM: lifelong learning with selective layer transfer.

Lee, Behpour, Eaton: Sharing Less is More: Lifelong Learning in Deep Networks with
Selective Layer Transfer, ICML 2021. A *configuration* says for each layer whether a
task shares it or has its own. Which of the 2^d is right for a task is a latent
variable, inferred by expectation-maximisation while the task is learned.
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
from keras_lifelong.methods.lasem.belief import Exact
from keras_lifelong.methods.lasem.belief import named_configuration
from keras_lifelong.methods.lasem.choosing_model import traced
from keras_lifelong.methods.lasem.factorised_search import FactorisedSearch
from keras_lifelong.metrics.directions import sign
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.registry import register
from keras_lifelong.training.phase import Phase

Named = Literal["all", "top2", "bottom2", "alternating"]


@register
class LASEM(FactorisedSearch):
    """Selects by EM, for every task, which layers to share with the other tasks.

    Algorithm 1 of the paper, on every mini-batch of a new task:

    - E-step: the likelihood of the batch under each configuration, times the prior,
      gives their posterior.
    - M-step: one optimizer step on the posterior-weighted sum of their losses.
    - The prior follows the posteriors.

    At the end the configuration of the largest prior is kept; own layers that it
    shares are dropped, and shared layers that it does not use are put back to what
    they were, which the paper leaves out and without which old tasks are forgotten.

    All configurations are evaluated in one pass, as a binary tree stacked on the batch
    axis, since those that agree on the lower layers share the work there.

    Batch normalisation is a task's own, and each configuration is normalised by its
    own part of the stacked batch, in both steps; at the end the task has the moving
    averages of the configuration that is kept. Beyond twelve choices each has a
    posterior by itself (see `FactorisedSearch`).

    Args:
        backbone: `keras.Sequential` or functional `keras.Model` of one input, of Keras'
            own layers whose outputs for a row depend on that row alone, and batch
            normalisation. Frozen layers (`trainable=False`) are one for all tasks.
        sharing: mechanism: "hps" (hard parameter sharing), "tf" (tensor
            factorisation) or "dfcnn" (deconvolutional factorisation).
        searched: names or paths of layers that may be shared; the rest each task has
            for itself. Dense, Conv1D, Conv2D, Conv3D, depthwise and separable
            convolutions with "hps"; Dense and Conv2D with "tf", Conv2D with "dfcnn".
            None: all convolutions that `sharing` carries, or all Dense layers if there
            are none.
        groups: what is shared together (appendix E): sizes of runs of searched layers
            from the input up, e.g. `[3, 3, 3]`, or lists of layers by name or by place
            from 1, e.g. `[[1, 3], [2, 4]]`. None: each layer for itself.
        likelihood: of a batch: "mean" of the samples' likelihoods, as the authors'
            code has it, or "joint", their product, as Eq. 2 reads.
        prior: "running_mean" of the task's posteriors, as in the published commands,
            or "count" of how often each configuration was the most likely (Eq. 1).
        m_step: "exact": all configurations, weighted by the posterior. "sampled": one
            that is drawn from it, whose gradient is the same in expectation and much
            cheaper.
        m_steps: M-steps for every E-step: the posterior is computed on every so many
            mini-batches and used until the next. At least 1. It saves time with
            `m_step="sampled"` only.
        prune: configurations whose prior is less than this part of the largest are
            not evaluated any more, in [0, 1). At 0.9 few are left after an epoch or
            two. 0: all are evaluated, as in the paper, at four to ten times the cost;
            in what was measured that was less accurate, too. Of a factorised posterior
            it is the two values of a choice that are compared.
        posterior: "exact": of all 2^d configurations, d at most 12. "factorised": of
            each choice by itself. "auto": exact where it can be.
        configuration: no search: "all", "top2", "bottom2", "alternating" or a list of
            1 (share) and 0 for the searched layers, or groups, from the input up.
        probability: P of the fixed-posterior ablation (Fig. 5), in (0, 1]: the
            configuration given has this posterior, all others the same rest, and none
            is pruned.
        search: "em", or "brute_force": a task's every configuration is trained from
            the same start and the best on validation data kept. The first task, which
            has nothing to choose from, then shares all layers.
        orthogonality: weight of the orthogonality penalty of tensor factorisation, at
            least 0.
        continue_schedule: whether a learning rate schedule goes on over the tasks.
        seed, pretrained, name: see `LifelongModel`. The given weights are what shared
            layers and every task's own begin from; DF-CNN's shared factors are drawn.

    Raises:
        ValueError: if an argument is of another type or range, naming it, or a layer
            cannot be carried.

    Example:

    ```python
    stream = kl.streams.get("lasem_cifar100")
    model = kl.LASEM(kl.backbones.get("lasem_cifar100", (32, 32, 3)), sharing="dfcnn")
    model.compile(keras.optimizers.RMSprop(1e-4))
    result = model.fit_stream(stream, epochs=50, batch_size=10)
    model.configuration("task_3")    # [0, 0, 1, 1]: the upper two layers are shared
    ```
    """

    def __init__(
        self,
        backbone,
        sharing: Literal["hps", "tf", "dfcnn"] = "hps",
        searched: list[str] | None = None,
        groups: list[Annotated[int, AtLeast(1)]] | list[list[str | int]] | None = None,
        likelihood: Literal["mean", "joint"] = "mean",
        prior: Literal["running_mean", "count"] = "running_mean",
        m_step: Literal["exact", "sampled"] = "exact",
        m_steps: Annotated[int, AtLeast(1)] = 1,
        prune: Annotated[float, In(0, 1, open_high=True)] = 0.9,
        posterior: Literal["exact", "factorised", "auto"] = "auto",
        configuration: Named | list[Literal[0, 1]] | None = None,
        probability: Annotated[float, In(0, 1, open_low=True)] | None = None,
        search: Literal["em", "brute_force"] = "em",
        orthogonality: Annotated[float, AtLeast(0)] = 0.1,
        continue_schedule: bool = True,
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(LASEM, locals())
        if probability is not None and configuration is None:
            raise ValueError(
                "`probability` needs a `configuration`, whose posterior it is. "
                f"Received: {probability!r} and configuration=None"
            )
        if search == "brute_force" and configuration is not None:
            raise ValueError(
                "`configuration` leaves nothing to search. "
                f"Received: {configuration!r} with search='brute_force'"
            )
        super().__init__(backbone, seed, pretrained, name, options)
        exact = isinstance(self.belief, Exact)
        if not exact and (search == "brute_force" or probability is not None):
            what = "`probability`" if probability else "`search='brute_force'`"
            raise ValueError(
                f"{what} is of all configurations by themselves, so it needs an exact "
                f"posterior. Received: posterior={posterior!r} and "
                f"{self.network.choices} choices"
            )
        self.given = None
        if configuration is not None:
            self.given = named_configuration(
                options["configuration"], self.network.choices
            )

    def build_network(self, backbone):
        o = self.options
        network = super().build_network(
            backbone, o.sharing, o.searched, o.groups, o.posterior
        )
        self.clock = keras.Variable(0, dtype="int32", trainable=False, name="clock")
        return network

    def active_variables(self):
        extra = [self.clock, *self.statistics.variables]
        return [*super().active_variables(), *extra]

    def learn(self, task):
        name, o = task.name, self.options
        if "configuration" in self.notes(name):  # a task that comes back
            used = self.used_variables(self.configuration(name))
            yield from self.trained(self.static_phase("training", used))
            return
        self.log_initial(name)
        before = self.shared_values()
        if self.given is not None and o.probability is None:
            self.configure(self.given)
            used = self.used_variables(self.network.by_layer(self.given))
            yield from self.trained(self.static_phase("training", used))
            prior, why = self.certain(), {}
        elif o.search == "brute_force":
            scores = yield from self.brute_force(task)
            prior, why = self.certain(), {"validation": scores}
        else:
            self.begin_search()
            result = yield from self.trained(self.em_phase())
            prior, why = ops.convert_to_numpy(self.prior()), traced(result)
        self.keep(name, before)
        self.log_choices(name, prior, why)

    # Phases

    def em_phase(self) -> Phase:
        sampled, exact = self.options.m_step == "sampled", self.configurations
        if exact is not None:
            loss = self.sampled_em_loss if sampled else self.em_loss
        else:
            loss = self.sampled_block_loss if sampled else self.block_loss
        return self.phase(
            "expectation-maximisation",
            self.network.trainable_variables,
            loss=loss,
            penalty=self.penalty if self.options.sharing == "tf" else None,
            shares=self.regularized,
            observe=self.observe_prior,
        )

    def observe_prior(self, finished: bool) -> dict:
        """The prior as it is, for the log."""
        del finished
        return {"prior": ops.convert_to_numpy(self.prior()).tolist()}

    def check_settings(self, task, settings):
        if self.options.search == "brute_force":
            settings.check_validates("`search='brute_force'`")

    def brute_force(self, task):
        """Trains every configuration from one start; keeps the best on validation."""
        if task.validation is None:
            raise ValueError(
                "`search='brute_force'` needs validation data to choose by. "
                f"Task {task.name!r} has none."
            )
        metric = self.main_metric
        direction = sign(metric)
        start, scores, found = self.get_active(), [], None
        is_first = self.task_index(task.name) == 0
        for index in range(1 if is_first else len(self.configurations)):
            self.set_active(start)
            self.configure(self.configurations[index])
            label = "".join(str(c) for c in self.configurations[index])
            result = yield from self.trained(
                self.static_phase(
                    f"configuration {label}", self.network.trainable_variables
                )
            )
            values = [direction * v for v in result.history[f"val_{metric.name}"]]
            scores.append(direction * float(max(values)))
            signed = [direction * score for score in scores]
            if signed.index(max(signed)) == index:
                found = self.get_active()
        self.set_active(found)
        self.store_active()
        return scores

    # E-step

    def begin_search(self):
        """A uniform prior; the first mini-batch begins with an E-step."""
        posterior = self.belief.uniform()
        if self.options.probability is not None:
            count, p = len(posterior), self.options.probability
            given = self.belief.certain(self.given) > 0
            posterior = np.full(count, (1 - p) / max(count - 1, 1), "float32")
            posterior[given] = p
            self.configure(self.given)
        self.posterior.assign(posterior)
        self.clock.assign(0)
        self.statistics.begin()
