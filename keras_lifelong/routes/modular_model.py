"""ModularModel: a model whose tasks mix modules of each layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import initializers
from keras import ops

from keras_lifelong.layers.switched import SwitchedNetwork
from keras_lifelong.model.lifelong import LifelongModel
from keras_lifelong.model.reading import Reading
from keras_lifelong.routes.modular import Modular
from keras_lifelong.routes.modular import Pool
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import seeded_copy

Modules = list[list[int]]  # of each layer the numbers of modules


class ModularModel(LifelongModel):
    """A `LifelongModel` of modules: of each layer a task mixes some.

    The numbers of a task's modules are its notes' "modules". Arrays of modules lie in
    memory under `("module", layer, number, i)`, and what a task has for itself beside
    them, normalisation and what mixes the modules, under `("part", task, i)`.

    Attributes:
        pool: the `Pool` of what modules there may be.
    """

    carries_graphs = True
    carries_inputs = True
    task_forms = (("part", str, int),)

    def build_network(self, backbone):
        self.pool = self.pool_of(backbone)
        if self.pretrained:
            modules, own = self.pool.values(backbone)
            flat = [*(v for values in modules for v in values), *own]
            for i, value in enumerate(flat):
                self.memory["pretrained", i] = value
        count = len(self.pool.paths)
        return SwitchedNetwork(self._made, _key([1] * count, [True] * count))

    def pool_of(self, network) -> Pool:
        """The modules of copies of a backbone."""
        return Pool(network, self.copied, type(self).__name__)

    def copied(self):
        """A copy of the backbone, in whose layers modules are used and trained."""
        return seeded_copy(self.backbone_copy(), self.seed, "module")

    def mixer(self, pool: Pool, place: int, count: int) -> Any:
        """What mixes so many modules of a layer, see `Modular`; or None."""
        raise NotImplementedError

    def _made(self, key: str, pool: Pool | None = None) -> Modular:
        pool = self.pool if pool is None else pool
        counts, trained = _read(key)
        mixers = [self.mixer(pool, p, n) for p, n in enumerate(counts)]
        return Modular(pool, counts, trained, mixers)

    # The modules of a task

    def modules(self, name: str, memory=None) -> Modules:
        """Of each layer the numbers of the modules that a task uses."""
        records = (self.memory if memory is None else memory).records
        return records[name].notes["modules"]

    def others_modules(self, name: str) -> list[set[int]]:
        """Of each layer the numbers of those that other tasks use."""
        found: list[set[int]] = [set() for _ in self.pool.paths]
        for other in self.task_names:
            if other != name and "modules" in self.notes(other):
                for all_, mine in zip(found, self.modules(other), strict=True):
                    all_.update(mine)
        return found

    def extended(self, name: str, new: list[bool]) -> Modules:
        """All modules of other tasks, and where `new` says so another one."""
        known = [sorted(ids) for ids in self.others_modules(name)]
        return [
            [*ids, max(ids, default=-1) + 1] if more or not ids else ids
            for ids, more in zip(known, new, strict=True)
        ]

    def is_trained(self, name: str) -> list[bool]:
        """Of each layer whether the task's last module is its alone."""
        others = self.others_modules(name)
        pairs = zip(self.modules(name), others, strict=True)
        return [mine[-1] not in used for mine, used in pairs]

    def begin(self, name: str, modules: Modules) -> None:
        """Gives a task, which must not be active, modules; what is new is drawn."""
        self.notes(name)["modules"] = modules
        self.network.use(self._training_key(name))
        drawn, own = self._drawn(name)
        pairs = zip(self.keys(name), self.own_variables(), strict=True)
        for key, variable in pairs:
            if key in self.memory:
                continue
            if key[0] == "module":
                self.memory[key] = self.first_of_module(key, drawn, variable)
            elif key[2] < len(own):
                self.memory[key] = own[key[2]]
            else:
                seed = derive_seed(self.seed, "part", name, key[2])
                self.memory[key] = drawn_value(variable, seed)

    def first_of_module(self, key, drawn, variable) -> np.ndarray:
        """What an array of a new module begins with.

        Args:
            key: `("module", place, number, i)`.
            drawn: of each layer the arrays of a newly drawn one.
            variable: which will hold it.
        """
        del variable
        return drawn[key[1]][key[3]]

    def _drawn(self, name):
        """Arrays of a new copy of the backbone; of the given one if that counts."""
        seed = derive_seed(self.seed, "modules", name)
        found = self.pool.values(seeded_copy(self.backbone_copy(), seed))
        if ("pretrained", 0) not in self.memory:
            return found
        i = 0
        for values in [*found[0], found[1]]:
            for k in range(len(values)):
                values[k] = self.memory["pretrained", i].copy()
                i += 1
        return found

    def let_go(self, name: str) -> None:
        """Lets go of what only this task has: it must not be active."""
        others = self.others_modules(name)
        for key in list(self.memory):
            alone = key[0] == "module" and key[2] not in others[key[1]]
            if alone or key[:2] == ("part", name):
                del self.memory[key]

    def keys(self, name: str, memory=None) -> list[tuple]:
        """Where in memory the values of a task's own variables are, in their order."""
        modules = self.modules(name, memory)
        return [
            *_module_keys(modules, self.pool),
            *(("part", name, i) for i in range(len(self._body(modules).own_parts()))),
        ]

    def _body(self, modules: Modules) -> Modular:
        """The network of so many modules, as it is used."""
        counts = [len(ids) for ids in modules]
        return self.network.of(_key(counts, [False] * len(counts)))

    def _training_key(self, name: str) -> str:
        counts = [len(ids) for ids in self.modules(name)]
        return _key(counts, self.is_trained(name))

    # As every model

    def begin_task(self, name):
        self.begin(name, self.extended(name, [False] * len(self.pool.paths)))

    def own_variables(self):
        body = self.network.current()
        own = [v for all_ in body.module_variables() for one in all_ for v in one]
        return [*own, *body.own_parts()]

    def own_indices(self, name):
        trained, modules = self.is_trained(name), self.modules(name)
        mine = {p: modules[p][-1] for p, new in enumerate(trained) if new}
        return [
            i
            for i, key in enumerate(self.keys(name))
            if key[0] == "part" or mine.get(key[1]) == key[2]
        ]

    def initial_own(self, index, variable):
        del variable
        return self.memory[self.keys(self.task_names[-1])[index]]

    def own_values(self, name, memory):
        return {i: memory[key] for i, key in enumerate(self.keys(name, memory))}

    def keep_own(self, name, index, value):
        self.memory[self.keys(name)[index]] = value

    def activate(self, name):
        if name == self.active_task:
            return
        super().activate(None)
        if name is not None:
            self.network.use(self._training_key(name))
        super().activate(name)

    def shared_variables(self):
        return self.pool.frozen

    def active_body(self):
        return self.network.current()

    def template_variables(self):
        return self.network.variables  # of as many modules as the active task has

    def memory_changed(self):
        """Makes the networks that there are: where functions are traced none can be."""
        for name, record in self.memory.records.items():
            modules = record.notes.get("modules")
            if modules and all(
                ("module", p, number, 0) in self.memory
                for p, ids in enumerate(modules)
                for number in ids
            ):
                self._body(self.modules(name))

    def reading_of(self, name, memory, training=None):
        self._record(name, memory)
        modules = self.modules(name, memory)
        keys = self.keys(name, memory)
        for key in keys:
            if key not in memory:
                raise ValueError(f"task {name!r} uses {key!r}, which is not there")
        body = self._body(modules)
        own = [v for all_ in body.module_variables() for one in all_ for v in one]
        variables = [*own, *body.own_parts()]
        pairs = zip(variables, keys, strict=True)
        values = {id(v): memory[key] for v, key in pairs}
        found = [values.get(id(v)) for v in body.variables]
        head = self._head_of(name, memory, training)
        return Reading(body, body.variables, found, head)

    def plain_layers(self, body, stage):
        del stage
        counts = [len(slots) for slots in body.module_variables()]
        own = [v for all_ in body.module_variables() for one in all_ for v in one]
        values = [ops.convert_to_numpy(v) for v in [*own, *body.own_parts()]]
        frozen = [ops.convert_to_numpy(v) for v in self.pool.frozen]
        return counts, values, frozen

    def plain_network(self, layers):
        counts, values, frozen = layers
        pool = self.pool_of(self.backbone_copy())
        body = self._made(_key(counts, [False] * len(counts)), pool)
        own = [v for all_ in body.module_variables() for one in all_ for v in one]
        pairs = zip([*own, *body.own_parts()], values, strict=True)
        for variable, value in [*pairs, *zip(pool.frozen, frozen, strict=True)]:
            variable.assign(value)
        return body.plain()

    def network_params(self):
        """The trained weights of all modules, and of what each task has for itself."""
        total = 0
        for key in self.memory.shared:
            if key[0] == "module":
                variable = self.pool.variables(key[1])[key[3]]
                total += int(np.prod(variable.shape)) if variable.trainable else 0
        for name in self.task_names:
            if "modules" in self.notes(name):
                parts = self._body(self.modules(name)).own_parts()
                total += sum(int(np.prod(v.shape)) for v in parts if v.trainable)
        return total

    def task_keys(self, name):
        modules = self.notes(name).get("modules", [])
        return super().task_keys(name) | set(_module_keys(modules, self.pool))

    def shared_with(self, name):
        found = super().shared_with(name)
        found.pop("the network", None)
        others = [o for o in self.task_names if o != name]
        for place, ids in enumerate(self.modules(name)):
            for number in ids:
                users = [o for o in others if number in self.modules(o)[place]]
                if users:
                    found[f"{self.pool.paths[place]} module {number}"] = users
        return found

    def check_state(self, config, shapes):
        super().check_state(config, shapes)
        for name in config["tasks"]:
            modules = config["notes"].get(name, {}).get("modules")
            good = isinstance(modules, list) and len(modules) == len(self.pool.paths)
            if not good or not all(map(_are_numbers, modules)):
                raise ValueError(f"task {name!r} has no lists of modules: {modules!r}")

    def log_initial(self, task):
        """Nothing to do: modules are logged as they are made."""

    def log_modules(self, name: str, kind: str = "grow") -> None:
        """Logs the modules that were made for a task."""
        trained = self.is_trained(name)
        first = self.task_names == [name]
        for place, (ids, new) in enumerate(
            zip(self.modules(name), trained, strict=True)
        ):
            if new:
                sizes = [v.shape for v in self.pool.variables(place) if v.trainable]
                count = sum(int(np.prod(shape)) for shape in sizes)
                path = self.pool.paths[place]
                said = "initial" if first else kind
                self.log(name, path, said, count, module=ids[-1])

    def summarize_network(self, print_fn, **kwargs):
        """Prints which modules the tasks use."""
        del kwargs
        for name in self.task_names:
            pairs = zip(self.pool.paths, self.modules(name), strict=True)
            print_fn(f"{name}: " + ", ".join(f"{path} {ids}" for path, ids in pairs))


def drawn_value(variable, seed: int) -> np.ndarray:
    """What a variable of a mixer begins with."""
    draw: Any = initializers.Zeros()
    if len(variable.shape) > 1:
        draw = initializers.GlorotUniform(seed=seed)
    return ops.convert_to_numpy(draw(variable.shape, dtype=variable.dtype)).copy()


def _module_keys(modules: Modules, pool: Pool) -> list[tuple]:
    return [
        ("module", place, number, i)
        for place, ids in enumerate(modules)
        for number in ids
        for i in range(len(pool.variables(place)))
    ]


def _are_numbers(ids) -> bool:
    """Whether it is a list of numbers, each once, in order."""
    whole = isinstance(ids, list) and ids and all(type(i) is int for i in ids)
    return bool(whole) and ids[0] >= 0 and sorted(set(ids)) == ids


def _key(counts, trained) -> str:
    """The key of a network: how many modules a layer has, * where one is trained.

    >>> _key([1, 2], [True, False])
    '1*,2'
    """
    pairs = zip(counts, trained, strict=True)
    return ",".join(f"{count}{'*' * new}" for count, new in pairs)


def _read(key: str) -> tuple[list[int], list[bool]]:
    """Counts, and where one is trained, of a `_key`."""
    parts = key.split(",")
    return [int(part.rstrip("*")) for part in parts], [p[-1] == "*" for p in parts]
