"""TransferModel: a lifelong model whose tasks share each layer, or have their own."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lifelong import backend
from keras_lifelong.graph import Graph
from keras_lifelong.layers import head as heads
from keras_lifelong.methods.lasem.batch_statistics import Statistics
from keras_lifelong.methods.lasem.belief import Exact
from keras_lifelong.methods.lasem.belief import belief_of
from keras_lifelong.methods.lasem.belief import choices_of
from keras_lifelong.methods.lasem.stacks import union
from keras_lifelong.methods.lasem.transfer_network import TransferNetwork
from keras_lifelong.model.lifelong import LifelongModel
from keras_lifelong.seeds import SEED_STATE
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import seeded_copy

FEW = (4, 2, 1)  # numbers of configurations that are cheaper by themselves than a tree


class TransferModel(LifelongModel):
    """A `LifelongModel` on a `TransferNetwork`.

    Every task is used under a configuration: while it is learned, the one with most
    `evidence`; afterwards the one that `keep` stored with it. A task has for itself
    its head, the layers that are not searched (batch normalisation among them, with its
    statistics), the own layers it does not share and the mappings of those it does;
    nothing else of it is kept.

    With `pretrained`, the backbone's weights are what the shared layers begin from
    (of tensor factorisation as a core with factors of the identity; not those of
    DF-CNN) and what every new task's own begin from.

    Attributes:
        belief: what is kept of the choices, all configurations or each by itself.
        configurations: all of them, (2^d, d); None if each choice is by itself.
        statistics: of batch normalisation in every configuration; see there.
    """

    carries_graphs = True

    def build_network(
        self, backbone, sharing="hps", searched=None, groups=None, posterior="auto"
    ):
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
        if self.pretrained:
            network.begin_from(backbone)
            for i, v in enumerate(_own_of(network)):  # a new task begins from there
                self.memory["pretrained", i] = ops.convert_to_numpy(v).copy()
        self.belief = belief_of(network.choices, posterior)
        exact = isinstance(self.belief, Exact)
        self.configurations = self.belief.configurations if exact else None
        self.evidence = keras.Variable(
            np.zeros(self.belief.shape, "float32"), trainable=False, name="evidence"
        )
        among = {path: union(c) for path, c in network.norm_choices.items()}
        self.statistics = Statistics(network.norms if exact else {}, among)
        return network

    # The configuration in use

    def choices(self):
        """The choices (d,) of the active task: of the most evidence, 1 is to share.

        Ties go to the configuration that shares more, as does having no evidence.
        """
        return self.belief.best(ops.convert_to_tensor(self.evidence))

    def bits(self):
        """All configurations, (2^d, d), as a tensor."""
        return self.belief.bits()

    def configure(self, choices):
        """Sets the active task's configuration, (d,)."""
        self.evidence.assign(self.belief.certain(choices))

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
        best = self.belief.best(ops.convert_to_tensor(evidence))
        return self.network.by_layer([int(c) for c in ops.convert_to_numpy(best)])

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
        """The network's variables that a configuration uses."""
        used = list(self.network.always_own)
        for layer, shared in zip(self.network.searched, configuration, strict=True):
            used += layer.shared_variables if shared else []
            used += layer.variables_of(shared)
        return used

    def regularized_parts(self, name, variables):
        """Those of the layers that the task's configuration does not use count not."""
        used = set(map(id, self.used_variables(self.configuration(name))))
        return [float(id(v) in used) for v in variables]

    # All configurations

    def configuration_losses(self, x, y, prior=None, noisy: bool = True):
        """Losses (2^d, batch) of the configurations, without and with dropout.

        Args:
            x, y: a batch.
            prior: (2^d,): when few enough are above 0, the others are left out, and
                have losses of 0. None: all are evaluated.
            noisy: whether the losses with dropout are needed.
        """
        return self.evaluated(x, y, prior, noisy)[:2]

    def evaluated(self, x, y, prior=None, noisy: bool = True) -> tuple:
        """As `configuration_losses`; third, the new values of `statistics`."""
        evaluate = functools.partial(self._losses_of, x, y, None, noisy)
        if prior is None:
            return evaluate()
        count = ops.sum(ops.cast(prior > 0, "int32"))
        for few in FEW:
            if few < len(self.configurations):
                best = ops.top_k(prior, few)[1]
                some = functools.partial(self._losses_of, x, y, best, noisy)
                evaluate = functools.partial(
                    backend.cond, count <= few, some, evaluate, self.seed_states()
                )
        return evaluate()

    def seed_states(self) -> list:
        """What a pass through the network draws from."""
        return [v for v in self.network.variables if v.name == SEED_STATE]

    def _losses_of(self, x, y, indices, noisy):
        total = len(self.configurations)
        if indices is None:
            clean, dropped, seen = self.losses_on(x, y, None, noisy)
            moved = self.statistics.after_all(seen, self.network.norm_choices)
            return clean, dropped, moved
        count = indices.shape[0]
        paths = [ops.take(self.bits(), indices[i], axis=0) for i in range(count)]
        clean, dropped, seen = self.losses_on(x, y, paths, noisy)
        moved = self.statistics.after_some(seen, paths)
        place = ops.transpose(ops.one_hot(indices, total))
        return ops.matmul(place, clean), ops.matmul(place, dropped), moved

    def losses_on(self, x, y, paths: list | None, noisy: bool) -> tuple:
        """Losses of some configurations, or of all.

        Args:
            x, y: a batch.
            paths: list of configurations, each (d,). None: all.
            noisy: whether the losses with dropout are needed.

        Returns:
            Losses (configurations, batch) without and with dropout, and what batch
            normalisation saw in the latter. It takes the batch's statistics in both.
        """
        if not backend.computed_by_rows():
            return self._losses_on(x, y, paths, noisy)

        def of_rows(part):  # without batch normalisation, which would need them all
            losses = self._losses_on(*part, paths, noisy)[:2]
            return [ops.transpose(each) for each in losses]

        losses = backend.by_rows(of_rows, (x, y))
        return *map(ops.transpose, losses), {}

    def _losses_on(self, x, y, paths, noisy):
        network = self.network
        count = len(self.configurations) if paths is None else len(paths)

        def trunk(training, seen):
            if paths is None:
                return network.tree(x, training, seen)
            each: list[dict] = [{} for _ in paths]
            of_each = [
                network.trunk(x, path, training, one)
                for path, one in zip(paths, each, strict=True)
            ]
            _join(seen, each)
            return [ops.concatenate(parts) for parts in zip(*of_each, strict=True)]

        below: dict[str, Any] = {}
        above: dict[str, Any] = {}
        tensors = trunk(False, below)
        clean = self._head_losses(tensors, y, count, False, above)
        dropped = clean
        if noisy and network.tree_is_noisy:
            below, above = {}, {}
            tensors = trunk(True, below)
            dropped = self._head_losses(tensors, y, count, True, above)
        elif noisy and network.tail_is_noisy:
            above = {}
            dropped = self._head_losses(tensors, y, count, True, above)
        for path, found in above.items():
            below.setdefault(path, []).extend(found)
        return clean, dropped, below

    def _head_losses(self, tensors, y, count, training, seen):
        features = self.network.tail(tensors, training, seen, count)
        logits = self.head(features)
        y = ops.tile(y, (count, *[1] * (len(y.shape) - 1)))
        losses = heads.per_sample_loss(self.loss_key()[0], y, logits)
        return ops.reshape(losses, (count, -1))

    # What a task has for itself

    def own_variables(self):
        return self._own

    @functools.cached_property
    def _own(self) -> list:  # the network is as it was built, for good
        return [*_own_of(self.network), self.evidence]

    def own_indices(self, name):
        configuration = self.notes(name).get("configuration")
        own = self.own_variables()
        if configuration is None:  # not decided yet
            return range(len(own))
        used = {id(v) for v in [*self.used_variables(configuration), self.evidence]}
        return [i for i, v in enumerate(own) if id(v) in used]

    def begin_task(self, name):
        """Draws what the task begins with from (seed, task), or takes what is given."""
        if ("pretrained", 0) in self.memory:
            count = len(_own_of(self.network))
            self._fresh = [self.memory["pretrained", i].copy() for i in range(count)]
        else:
            seed = derive_seed(self.seed, "task", name)
            fresh = self.network.again(seeded_copy(self.backbone_copy(), seed), seed)
            self._fresh = [ops.convert_to_numpy(v).copy() for v in _own_of(fresh)]
        self._fresh.append(np.zeros(self.belief.shape, "float32"))

    def initial_own(self, index, variable):
        del variable
        return self._fresh[index]

    def set_structure(self, structure):
        """Takes over what tasks kept under another `posterior`: what they chose."""
        super().set_structure(structure)
        place = len(self.own_variables()) - 1
        for name, record in self.memory.records.items():
            evidence = record.own.get(place)
            if evidence is not None and evidence.shape != self.belief.shape:
                choices = choices_of(evidence, self.network.choices)
                if choices is None:
                    raise ValueError(
                        f"task {name!r} has evidence of shape {evidence.shape}, which "
                        f"is not of {self.network.choices} choices: it was learned "
                        "with other `searched` or `groups`"
                    )
                record.own[place] = self.belief.certain(choices)

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
            pairs = zip(self.network.paths, self.network.searched, strict=True)
            for path, layer in pairs:
                self.log(task, path, "initial", layer.units)

    def shared_with(self, name):
        found = super().shared_with(name)
        others = found.pop("the network", [])
        layers = zip(self.network.paths, self._kept_configuration(name), strict=True)
        for i, (path, shared) in enumerate(layers):
            users = [other for other in others if self._kept_configuration(other)[i]]
            if shared and users:
                found[path] = users
        return found

    def _kept_configuration(self, name) -> list[int]:
        kept = self.notes(name).get("configuration")
        return [1] * len(self.network.searched) if kept is None else kept

    def summarize_network(self, print_fn, **kwargs):
        """Prints the searched layers and what sharing them takes."""
        del kwargs
        for path, layer in zip(self.network.paths, self.network.searched, strict=True):
            sizes = [
                sum(int(np.prod(v.shape)) for v in variables)
                for variables in (
                    layer.shared_variables,
                    layer.mapping_variables,
                    layer.own_variables,
                )
            ]
            print_fn(
                f"{path} ({type(layer.transfer).__name__}): {sizes[0]:,} shared, "
                f"{sizes[1]:,} to map by task; {sizes[2]:,} if a task's own"
            )

    def plain_layers(self, body, stage):
        del stage
        choices = [int(c) for c in ops.convert_to_numpy(self.choices())]
        if self.network.is_flat:
            return body.plain_layers(choices)
        return body.plain_weights(choices)

    def plain_network(self, layers):
        if not isinstance(layers, dict):
            return super().plain_network(layers)
        network = self.backbone_copy()
        for path, layer in Graph(network).layers.items():
            if path in layers:
                layer.set_weights(layers[path])
        return network


def _own_of(network: TransferNetwork) -> list:
    """The variables of a network that are a task's own, or may be."""
    return [
        *(v for x in network.searched for v in x.mapping_variables + x.own_variables),
        *network.always_own,
    ]


def _join(seen: dict, each: list[dict]) -> None:
    """Puts what each configuration's pass has seen into one, a row for each."""
    for path, calls in each[0].items():
        seen[path] = [
            tuple(ops.concatenate([one[path][i][k] for one in each]) for k in range(2))
            for i in range(len(calls))
        ]
