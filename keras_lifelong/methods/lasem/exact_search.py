"""LASEM's steps where a posterior of all configurations is kept."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.methods.lasem.choosing_model import ChoosingModel


class ExactSearch(ChoosingModel):
    """The E- and the M-step of Algorithm 1, and the prior."""

    clock: keras.Variable  # mini-batches so far

    def prior(self):
        """Probabilities, as `belief` has them, from the evidence so far (Eq. 1)."""
        evidence = ops.convert_to_tensor(self.evidence)
        if self.options.prior == "count":
            evidence = evidence + 1.0
        return self.belief.prior(evidence)

    def posterior_of(self, losses, weight, prior):
        """Posterior (2^d,) of the configurations after a batch (Eq. 2).

        Args:
            losses: (2^d, batch), without dropout.
            weight: sample weights (batch,).
            prior: (2^d,); 0 where a configuration is not considered, whose losses mean
                nothing.

        Returns:
            (2^d,), which sums to 1 over the configurations that are considered.
        """
        if self.options.likelihood == "joint":
            log_likelihood = -ops.sum(losses * weight, axis=-1)
        else:
            mean = ops.sum(ops.exp(-losses) * weight, axis=-1) / ops.sum(weight)
            log_likelihood = ops.log(ops.maximum(mean, 1e-30))
        evidence = ops.log(ops.maximum(prior, 1e-30)) + log_likelihood
        # before the softmax: what is left out must take no part of the sum
        return ops.softmax(ops.where(prior > 0, evidence, -np.inf))

    @property
    def prunes(self) -> bool:
        """Whether unlikely configurations are left out; not with a fixed posterior."""
        return self.options.prune > 0 and self.options.probability is None

    def considered(self):
        """The prior, with 0 for what is pruned."""
        prior = self.prior()
        if not self.prunes:
            return prior
        return self.belief.considered(prior, self.options.prune)

    # M-step

    def em_loss(self, x, y, weight, arguments):
        """Posterior-weighted loss of all configurations; one pass serves both steps."""
        del arguments
        prior = self.considered()
        clean, noisy, moved = self.evaluated(x, y, prior if self.prunes else None)
        posterior = self.posterior_of(ops.stop_gradient(clean), weight, prior)
        posterior = self.after_e_step(posterior)
        self.keep_statistics(moved)
        per_configuration = ops.sum(noisy * weight, axis=-1) / ops.sum(weight)
        return ops.sum(ops.stop_gradient(posterior) * per_configuration)

    def sampled_em_loss(self, x, y, weight, arguments):
        """Loss of one configuration drawn from the posterior."""
        del arguments
        due = ops.equal(ops.convert_to_tensor(self.clock) % self.options.m_steps, 0)
        prior = self.considered()

        def e_step():
            clean, _ = self.configuration_losses(
                x, y, prior if self.prunes else None, noisy=False
            )
            return ops.stop_gradient(self.posterior_of(clean, weight, prior))

        posterior = self.after_e_step(
            ops.cond(due, e_step, lambda: ops.convert_to_tensor(self.posterior))
        )
        logits = ops.log(ops.maximum(posterior, 1e-30))[None]
        drawn = keras.random.categorical(logits, 1, seed=self.network.seed_generator)
        choices = ops.take(self.bits(), drawn[0, 0], axis=0)
        return self.loss_of_one(x, y, weight, choices)

    def loss_of_one(self, x, y, weight, choices):
        """The loss of a configuration (d,), under which batch statistics are noted."""
        if not self.statistics.variables:
            features = backend.by_rows(
                lambda rows: self.network(rows, choices=choices, training=True), x
            )
        else:
            seen: dict = {}
            features = self.network.call(x, choices, True, seen)
            self.keep_statistics(self.statistics.after_some(seen, [choices]))
        return self.head_loss(y, self.head(features), weight)

    def keep_statistics(self, moved):
        """Those of the configuration of most evidence become the network's."""
        if moved:
            self.statistics.keep(moved, self.choices())

    def after_e_step(self, posterior):
        """Takes note of a mini-batch; returns the posterior to use for its M-step."""
        if self.options.probability is not None:
            return ops.convert_to_tensor(self.posterior)
        clock = ops.convert_to_tensor(self.clock)
        due = ops.equal(clock % self.options.m_steps, 0)
        posterior = ops.where(due, posterior, ops.convert_to_tensor(self.posterior))
        self.clock.assign(clock + 1)
        self.posterior.assign(posterior)
        added = posterior
        if self.options.prior == "count":
            added = self.belief.counted(posterior)
        evidence = ops.convert_to_tensor(self.evidence)
        self.evidence.assign(evidence + ops.where(due, added, 0.0))
        return posterior
