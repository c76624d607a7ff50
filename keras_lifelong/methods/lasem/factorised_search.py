"""LASEM of many choices: each has a posterior by itself.

2^d configurations cannot be kept of d choices, but q(c) = prod_i q_i(c_i) can: 2d
numbers. On every batch the posterior under this prior is projected on such products
(assumed-density filtering), of which the marginals are the nearest:

    q_i(v) ~ prior_i(v) E[L(c) | c_i = v], the other choices drawn from their priors.

The expectation is estimated for a block of k choices at a time, drawn anew for every
batch. The others are drawn once; the 2^k configurations of the block are all evaluated
beside them, and what they say of each choice of the block is summed over the rest of
the block. So a choice is compared with its opposite under the very same other layers,
and without evidence its probability does not move; that of a choice outside the block
stays. With k = d this is the exact posterior's marginals.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.methods.lasem.belief import configuration_bits
from keras_lifelong.methods.lasem.exact_search import ExactSearch

BLOCK = 2  # choices whose configurations are evaluated on a batch


class FactorisedSearch(ExactSearch):
    """What LASEM does in its steps where a posterior of each choice is kept."""

    def block_loss(self, x, y, weight, arguments):
        """The loss of a block's configurations, weighted by their posterior.

        In expectation over the drawing, the loss under q.
        """
        del arguments
        prior = self.considered()
        place, paths = self.drawn(prior)
        losses, posterior = self.e_step(x, y, weight, prior, place, paths, True)
        self.after_block(self.marginals(prior, place, posterior), place)
        self.note_statistics(x)
        each = ops.sum(losses * weight, axis=-1) / ops.sum(weight)
        return ops.sum(posterior * each)

    def sampled_block_loss(self, x, y, weight, arguments):
        """The loss of one configuration that is drawn from q."""
        del arguments
        due = ops.equal(ops.convert_to_tensor(self.clock) % self.options.m_steps, 0)
        prior = self.considered()
        place, paths = self.drawn(prior)

        def e_step():
            _, posterior = self.e_step(x, y, weight, prior, place, paths, False)
            return self.marginals(prior, place, posterior)

        kept = ops.convert_to_tensor(self.posterior)
        q = ops.cond(due, e_step, lambda: kept)
        self.after_block(q, place * ops.cast(due, place.dtype))
        self.note_statistics(x)
        # `seen` is given and dropped: the averages are those noted above
        features = self.network.call(x, self._draw(q), training=True, seen={})
        return self.head_loss(y, self.head(features), weight)

    def note_statistics(self, x):
        """Moves the averages of batch normalisation by the most likely configuration.

        So they follow the one that is kept, as far back as their momentum reaches.
        """
        if self.network.norms:
            self.network(x, choices=self.choices(), training=True)

    def _draw(self, q):
        """A configuration (d,) from q (d, 2)."""
        share = q[:, 0] / ops.sum(q, axis=-1)
        u = keras.random.uniform(share.shape, seed=self.network.seed_generator)
        return ops.cast(u < share, "int32")

    def drawn(self, prior):
        """A block, and its configurations beside a draw of all other choices.

        Args:
            prior: (d, 2), 0 for what is pruned.

        Returns:
            Where the block's choices are, (k, d) of 0 and 1, and the choices of its
            configurations (2^k, d). Choices that are open come before decided ones.
        """
        d, k = prior.shape[0], min(BLOCK, prior.shape[0])
        is_open = ops.cast(ops.min(prior, axis=-1) > 0, "float32")
        u = keras.random.uniform((d,), seed=self.network.seed_generator)
        place = ops.one_hot(ops.top_k(u + is_open, k)[1], d, dtype="float32")
        others = ops.cast(self._draw(prior), "float32") * (1 - ops.sum(place, axis=0))
        block = ops.convert_to_tensor(configuration_bits(k), "float32")
        paths = others[None] + ops.matmul(block, place)
        return place, ops.cast(ops.round(paths), "int32")

    def e_step(self, x, y, weight, prior, place, paths, noisy):
        """Losses (2^k, batch) of a block's configurations and their posterior (2^k,).

        Once all choices are decided, one configuration alone is evaluated.
        """
        count = paths.shape[0]
        rows = ops.matmul(place, prior)  # (k, 2)
        shared = configuration_bits(rows.shape[0]) > 0
        of_block = ops.prod(ops.where(shared, rows[:, 0], rows[:, 1]), axis=-1)

        def every():
            clean, dropped, _ = self.losses_on(
                x, y, [paths[i] for i in range(count)], noisy
            )
            return clean, dropped

        def only():
            best = ops.argmax(of_block)
            clean, dropped, _ = self.losses_on(
                x, y, [ops.take(paths, best, axis=0)], noisy
            )
            row = ops.one_hot(best, count)[:, None]
            return row * clean, row * dropped

        losses = every
        if self.prunes:
            decided = ops.sum(ops.cast(of_block > 0, "int32")) <= 1

            def losses():
                return backend.cond(decided, only, every, self.seed_states())

        clean, dropped = losses()
        posterior = self.posterior_of(ops.stop_gradient(clean), weight, of_block)
        return dropped, ops.stop_gradient(posterior)

    def marginals(self, prior, place, posterior):
        """q (d, 2) after a batch: of the block's choices by its posterior (2^k,).

        Args:
            prior: (d, 2).
            place: (k, d), see `drawn`.
            posterior: (2^k,) of the block's configurations.
        """
        bits = configuration_bits(place.shape[0]).astype("float32")
        share = ops.matmul(
            posterior, np.stack([bits, 1 - bits], -1).reshape(len(bits), -1)
        )
        share = ops.matmul(ops.transpose(place), ops.reshape(share, (-1, 2)))
        inside = ops.sum(place, axis=0)[:, None]
        rest = prior / ops.sum(prior, axis=-1, keepdims=True)
        return share + (1 - inside) * rest

    def after_block(self, q, place):
        """Takes note of q (d, 2); evidence is that of the block's choices."""
        self.clock.assign(ops.convert_to_tensor(self.clock) + 1)
        self.posterior.assign(q)
        added = self.belief.counted(q) if self.options.prior == "count" else q
        inside = ops.sum(place, axis=0)[:, None]
        self.evidence.assign(ops.convert_to_tensor(self.evidence) + inside * added)
