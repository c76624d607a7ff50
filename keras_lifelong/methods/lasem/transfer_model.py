"""TransferModel: a lifelong model whose tasks share each layer, or have their own."""

from __future__ import annotations

import functools

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.layers import head as heads
from keras_lifelong.methods.lasem.transfer_network import TransferNetwork
from keras_lifelong.methods.lasem.transfer_network import configuration_bits
from keras_lifelong.model.lifelong import LifelongModel
from keras_lifelong.seeds import SEED_STATE
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import seeded_copy

FEW = (4, 2, 1)  # numbers of configurations that are cheaper by themselves than a tree


class TransferModel(LifelongModel):
    """A `LifelongModel` on a `TransferNetwork`.

    Every task is used under a configuration: while it is learned, the one with most
    `evidence`; afterwards the one that `keep` stored with it. A task has for itself
    its head, the layers that are not searched, the own layers it does not share and
    the mappings of those it does; nothing else of it is kept.
    """

    carries_graphs = False

    def build_network(self, backbone, sharing="hps", searched=None, groups=None):
        """A method hands over its arguments of the `TransferNetwork`."""
        network = TransferNetwork(
            backbone,
            sharing,
            searched,
            groups,
            seed=self.seed,
            method=type(self).__name__,
            name="network",
        )
        self.configurations = configuration_bits(network.choices)
        count = len(self.configurations)
        self.evidence = keras.Variable(
            np.zeros(count, "float32"), trainable=False, name="evidence"
        )
        return network

    # The configuration in use

    def choices(self):
        """The choices (d,) of the active task: of the most evidence, 1 is to share.

        Ties go to the configuration that shares more, as does having no evidence.
        """
        return ops.take(
            self.bits(), ops.argmax(ops.convert_to_tensor(self.evidence)), axis=0
        )

    def bits(self):
        """All configurations, (2^d, d), as a tensor."""
        return ops.convert_to_tensor(self.configurations, "int32")

    def configure(self, index: int):
        """Sets the active task's configuration by its number."""
        one_hot = np.arange(len(self.configurations)) == index
        self.evidence.assign(one_hot.astype("float32"))

    def configuration(self, task: str | None = None) -> list[int]:
        """A task's configuration: for each searched layer, 1 if it shares it.

        Args:
            task: name; may be left out when only one is known.
        """
        name = self.which(task)
        kept = self.notes(name).get("configuration")
        if kept is not None:
            return list(kept)
        evidence = self.evidence
        if name != self.active_task:
            evidence = self.memory["own", name, len(self.own_variables()) - 1]
        best = int(np.argmax(ops.convert_to_numpy(evidence)))
        return self.network.by_layer([int(c) for c in self.configurations[best]])

    def keep(self, name: str, shared_before: list[np.ndarray]):
        """Ends the learning of the active task: what it does not use is let go.

        The shared tensors of layers it does not share become again what they were
        before (the authors' code does so, the paper does not say it): other tasks use
        them, and this one's gradients have moved them.

        Args:
            name: of the active task.
            shared_before: what `shared_values` gave before it was learned.
        """
        values = iter(shared_before)
        configuration = self.configuration(name)
        for layer, shared in zip(self.network.searched, configuration, strict=True):
            for variable in layer.shared_variables:
                value = next(values)
                if not shared:
                    variable.assign(value)
        self.notes(name)["configuration"] = configuration
        record, kept = self.memory.records[name], self.own_indices(name)
        record.own = {i: value for i, value in record.own.items() if i in kept}
        self.store_active()

    def shared_values(self) -> list[np.ndarray]:
        """Copies of all shared tensors, layer by layer."""
        return [
            ops.convert_to_numpy(v).copy()
            for layer in self.network.searched
            for v in layer.shared_variables
        ]

    def used_variables(self, configuration) -> list:
        """The network's trainable variables that a configuration uses."""
        used = list(self.network.always_own)
        for layer, shared in zip(self.network.searched, configuration, strict=True):
            used += layer.shared_variables if shared else []
            used += layer.variables_of(shared)
        return used

    # All configurations

    def configuration_losses(self, x, y, prior=None, noisy: bool = True):
        """Losses (2^d, batch) of the configurations, without and with dropout.

        Args:
            x, y: a batch.
            prior: (2^d,): when few enough are above 0, the others are left out, and
                have losses of 0. None: all are evaluated.
            noisy: whether the losses with dropout are needed.
        """

        evaluate = functools.partial(self._losses_of, x, y, None, noisy)
        if prior is None:
            return evaluate()
        count = ops.sum(ops.cast(prior > 0, "int32"))
        seeds = [v for v in self.network.variables if v.name == SEED_STATE]
        for few in FEW:
            if few < len(self.configurations):
                best = ops.top_k(prior, few)[1]
                some = functools.partial(self._losses_of, x, y, best, noisy)
                evaluate = functools.partial(
                    backend.cond, count <= few, some, evaluate, seeds
                )
        return evaluate()

    def _losses_of(self, x, y, indices, noisy):
        network, total = self.network, len(self.configurations)
        if indices is None:
            features, count = functools.partial(network.tree, x), total
        else:
            count = indices.shape[0]
            paths = [ops.take(self.bits(), indices[i], axis=0) for i in range(count)]

            def features(training):
                return ops.concatenate([network.trunk(x, p, training) for p in paths])

        trunk = features(False)
        clean = self._head_losses(trunk, y, count, False)
        dropped = clean
        if noisy and network.tree_is_noisy:
            dropped = self._head_losses(features(True), y, count, True)
        elif noisy and network.tail_is_noisy:
            dropped = self._head_losses(trunk, y, count, True)
        if indices is None:
            return clean, dropped
        place = ops.transpose(ops.one_hot(indices, total))
        return ops.matmul(place, clean), ops.matmul(place, dropped)

    def _head_losses(self, trunk, y, count, training):
        logits = self.head(self.network.tail(trunk, training))
        y = ops.tile(y, (count, *[1] * (len(y.shape) - 1)))
        losses = heads.per_sample_loss(self.loss_key()[0], y, logits)
        return ops.reshape(losses, (count, -1))

    # What a task has for itself

    def own_variables(self):
        searched = self.network.searched
        return [
            *[v for x in searched for v in x.mapping_variables + x.own_variables],
            *self.network.always_own,
            self.evidence,
        ]

    def own_indices(self, name):
        configuration = self.notes(name).get("configuration")
        own = self.own_variables()
        if configuration is None:  # not decided yet
            return range(len(own))
        used = {id(v) for v in [*self.used_variables(configuration), self.evidence]}
        return [i for i, v in enumerate(own) if id(v) in used]

    def begin_task(self, name):
        """Draws what the task begins with from (seed, task)."""
        seed = derive_seed(self.seed, "task", name)
        fresh = self.network.again(seeded_copy(self.backbone_copy(), seed), seed)
        drawn = [
            *[v for x in fresh.searched for v in x.mapping_variables + x.own_variables],
            *fresh.always_own,
        ]
        self._fresh = [ops.convert_to_numpy(v).copy() for v in drawn]
        self._fresh.append(np.zeros(len(self.configurations), "float32"))

    def initial_own(self, index, variable):
        del variable
        return self._fresh[index]

    # As every model

    def through(self, body, x, training=False):
        return body(x, choices=self.choices(), training=training)

    def template_variables(self):
        session = self._session
        if session.template is None:
            session.template = [*self.network.variables, self.evidence]
        return session.template

    def active_variables(self):
        return [*super().active_variables(), self.evidence]

    @property
    def feature_width(self):
        return self.network.output_width

    def log_initial(self, task):
        """Logs the shared layers with the first task."""
        if not any(e["kind"] == "initial" for e in self.growth):
            for layer in self.network.searched:
                self.log(task, layer.name, "initial", layer.units)

    def shared_with(self, name):
        found = super().shared_with(name)
        others = found.pop("the network", [])
        layers = zip(self.network.searched, self._kept_configuration(name), strict=True)
        for i, (layer, shared) in enumerate(layers):
            users = [other for other in others if self._kept_configuration(other)[i]]
            if shared and users:
                found[layer.name] = users
        return found

    def _kept_configuration(self, name) -> list[int]:
        kept = self.notes(name).get("configuration")
        return [1] * len(self.network.searched) if kept is None else kept

    def summarize_network(self, print_fn, **kwargs):
        """Prints the searched layers and what sharing them takes."""
        del kwargs
        for layer in self.network.searched:
            sizes = [
                sum(int(np.prod(v.shape)) for v in variables)
                for variables in (
                    layer.shared_variables,
                    layer.mapping_variables,
                    layer.own_variables,
                )
            ]
            print_fn(
                f"{layer.name} ({type(layer.transfer).__name__}): {sizes[0]:,} shared, "
                f"{sizes[1]:,} to map by task; {sizes[2]:,} if a task's own"
            )

    def plain_layers(self, body, stage):
        del stage
        choices = [int(c) for c in ops.convert_to_numpy(self.choices())]
        return body.plain_layers(choices)
