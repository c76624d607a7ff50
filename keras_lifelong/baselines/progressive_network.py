"""ProgressiveNetwork (PNN): a new column a task, which hears the columns before it.

Rusu et al.: Progressive Neural Networks, 2016. Columns that were learned stay as they
are. In a new one each layer computes f(W h + b + U σ(V [α_1 h_1, …, α_n h_n])), where
the h_j are what the same layer is given in the n earlier columns (section 2).
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
from keras import initializers
from keras import ops

from keras_lifelong.checks import Seed
from keras_lifelong.layers.columns import Column
from keras_lifelong.layers.columns import Columns
from keras_lifelong.layers.switched import SwitchedNetwork
from keras_lifelong.model import LifelongModel
from keras_lifelong.model.options import checked_options
from keras_lifelong.model.reading import Reading
from keras_lifelong.model.registry import register
from keras_lifelong.seeds import derive_seed
from keras_lifelong.seeds import seeded_copy


@register
class ProgressiveNetwork(LifelongModel):
    """Learns each task in a column of its own, connected to all earlier ones.

    There is no forgetting: only the new column and its adapters are trained. It grows
    by a whole network a task and by adapters, whose number grows with the square of
    the tasks. Earlier columns are used without dropout and with the statistics that
    their normalisation has. A task that comes back is trained as before, but only its
    head if later columns hear its column.

    Departures: the paper connects the outputs as well; here the connection leads into
    the features that a head is given, h + U σ(V h_earlier), so that heads are of one
    width and can be shared. Layers that are neither dense nor convolutional (recurrent,
    attention, depthwise) hear in the same way, at their inputs. Normalisation hears
    nothing by itself, and frozen layers are one for all columns.

    Args:
        backbone: `keras.Sequential` or functional model of hidden layers.
        lateral: "joint": V leads from all earlier columns to as many channels as one
            has, as in the paper; "apart": a V for each of the n columns, to a share of
            1 / (2 (n + 1)) of its channels, as in the program of LASEM.
        seed, pretrained, name: see `LifelongModel`. With `pretrained` every column
            begins with the backbone's weights.

    Raises:
        ValueError: if an argument is of another type or range, naming it; if no layer
            is trainable, or one has its channels first, naming it.

    Example:

    ```python
    model = kl.ProgressiveNetwork(backbone)
    model.compile("adam", metrics=["accuracy"])
    result = model.fit_stream(kl.streams.get("digits"), epochs=10)
    ```
    """

    carries_inputs = True

    def __init__(
        self,
        backbone,
        lateral: Literal["joint", "apart"] = "joint",
        seed: Seed = 0,
        pretrained: bool = False,
        name: str | None = None,
    ):
        options = checked_options(ProgressiveNetwork, locals())
        super().__init__(backbone, seed, pretrained, name, options)

    def build_network(self, backbone):
        first = Column(backbone, [], self.options.lateral, type(self).__name__)
        if self.pretrained:
            for i, v in enumerate(first.of_backbone):
                self.memory["pretrained", i] = ops.convert_to_numpy(v).copy()
        make = functools.partial(self.of_columns, first=Columns([first]))
        return SwitchedNetwork(make, "1", name="network")

    def of_columns(self, key: str, first: Columns) -> Columns:
        """The network of so many columns; the shorter ones are its beginning."""
        if key == "1":
            return first
        before = self.network.of(str(int(key) - 1)).columns()
        return Columns([*before, self.column(before)])

    def column(self, before: list[Column]) -> Column:
        """A new column, which hears those before it."""
        place = len(before) + 1
        network = seeded_copy(self.backbone_copy(), self.seed, "column", place)
        return Column(network, before, self.options.lateral, type(self).__name__)

    def learn(self, task):
        if self.hearers(task.name):
            yield self.phase("training the head", [], loss=self.loss_of_head)
        else:
            yield self.phase("training a column", self.network.trainable_variables)

    def loss_of_head(self, x, y, weight, arguments):
        """The task's loss, where its column is used as it is."""
        del arguments
        return self.head_loss(y, self.head(self.features(x)), weight)

    # A task's columns, by number: its own is the last

    def columns(self, name: str, memory=None) -> list[int]:
        """The columns that a task uses, in the order they were learned."""
        records = (self.memory if memory is None else memory).records
        return records[name].notes["columns"]

    def hearers(self, name: str) -> list[str]:
        """Other tasks that use a task's own column."""
        own = self.columns(name)[-1]
        others = [other for other in self.task_names if other != name]
        return [other for other in others if own in self.columns(other)]

    def begin_task(self, name):
        """Draws a new column from (seed, task), or begins with what was given."""
        used = {c: 0 for other in self.task_names[:-1] for c in self.columns(other)}
        columns = [*sorted(used), max(used, default=-1) + 1]
        self.notes(name)["columns"] = columns
        self.network.use(str(len(columns)))
        column = self.network.current().columns()[-1]
        if ("pretrained", 0) in self.memory:
            count = range(len(column.of_backbone))
            values = [self.memory["pretrained", i].copy() for i in count]
        else:
            seed = derive_seed(self.seed, "column", name)
            drawn = seeded_copy(self.backbone_copy(), seed)
            drawn = Column(drawn, [], "joint", type(self).__name__)
            values = [ops.convert_to_numpy(v).copy() for v in drawn.of_backbone]
        for i, v in enumerate(column.of_adapters):
            values.append(_drawn(v, derive_seed(self.seed, "adapter", name, i)))
        self._fresh = values

    def initial_own(self, index, variable):
        del variable
        return self._fresh[index - len(self.own_variables())]  # the last ones

    def own_variables(self):
        return [v for column in self.network.current().columns() for v in column.own]

    def own_indices(self, name):
        *before, last = self.network.of(str(len(self.columns(name)))).columns()
        start = sum(len(column.own) for column in before)
        return range(start, start + len(last.own))

    def own_values(self, name, memory):
        columns = self.columns(name, memory)
        made = self.network.of(str(len(columns))).columns()
        keys = [
            ("column", c, i)
            for c, column in zip(columns, made, strict=True)
            for i in range(len(column.own))
        ]
        return {i: memory[key] for i, key in enumerate(keys)}

    def keep_own(self, name, index, value):
        place = index - self.own_indices(name).start
        self.memory["column", self.columns(name)[-1], place] = value

    # As every model

    def activate(self, name):
        if name == self.active_task:
            return
        super().activate(None)
        if name is not None:
            self.network.use(str(len(self.columns(name))))
        super().activate(name)

    def shared_variables(self):
        return self.network.of("1").columns()[0].frozen

    def active_body(self):
        return self.network.current()

    def template_variables(self):
        return self.network.variables  # of as many columns as the active task has

    def memory_changed(self):
        """Makes the columns that there are: where functions are traced none can be."""
        memory = self.memory
        listed = [r.notes.get("columns", []) for r in memory.records.values()]
        whole = [x for x in listed if all(("column", c, 0) in memory for c in x)]
        for count in range(1, max(map(len, whole), default=0) + 1):
            self.network.of(str(count))

    def reading_of(self, name, memory, training=None):
        self._record(name, memory)
        columns = self.columns(name, memory)
        for c in columns:
            if ("column", c, 0) not in memory:
                raise ValueError(f"task {name!r} uses column {c}, which is not there")
        body = self.network.of(str(len(columns)))
        own = [v for column in body.columns() for v in column.own]
        places = self.own_values(name, memory).items()
        values = {id(own[i]): value for i, value in places}
        found = [values.get(id(v)) for v in body.variables]
        head = self._head_of(name, memory, training)
        return Reading(body, body.variables, found, head)

    def plain_layers(self, body, stage):
        del stage
        return len(body.columns()), [ops.convert_to_numpy(v) for v in body.variables]

    def plain_network(self, layers):
        count, values = layers
        made: list[Column] = []
        for _ in range(count):
            made.append(self.column(made))
        body = Columns(made)
        for variable, value in zip(body.variables, values, strict=True):
            variable.assign(value)
        return body.plain()

    def network_params(self):
        """The trained weights of all columns, each counted once."""
        place = {
            c: i for name in self.task_names for i, c in enumerate(self.columns(name))
        }
        longest = self.network.of(str(max(place.values(), default=0) + 1)).columns()
        trained = [
            sum(int(np.prod(v.shape)) for v in column.own if v.trainable)
            for column in longest
        ]
        return sum(trained[i] for i in place.values())

    def task_keys(self, name):
        mine = set(self.columns(name))
        keys = [k for k in self.memory.shared if k[0] == "column" and k[1] in mine]
        return super().task_keys(name) | set(keys)

    def shared_with(self, name):
        found = super().shared_with(name)
        found.pop("the network", None)
        for c in self.columns(name):
            others = [other for other in self.task_names if other != name]
            users = [other for other in others if c in self.columns(other)]
            if users:
                found[f"column_{c}"] = users
        return found

    def check_state(self, config, shapes):
        super().check_state(config, shapes)
        for name in config["tasks"]:
            columns = config["notes"].get(name, {}).get("columns")
            good = isinstance(columns, list) and columns
            if not good or not all(type(c) is int and c >= 0 for c in columns):
                raise ValueError(f"task {name!r} has no list of columns: {columns!r}")
            if len(set(columns)) != len(columns):
                raise ValueError(f"task {name!r} uses a column twice: {columns!r}")

    def log_initial(self, task):
        """Logs the units of the task's column."""
        if any(entry["task"] == task for entry in self.growth):
            return
        columns = self.columns(task)
        kind = "initial" if len(columns) == 1 else "column"
        for path, units in self.network.of("1").columns()[0].units().items():
            self.log(task, path, kind, units, column=columns[-1])

    def summarize_network(self, print_fn, **kwargs):
        """Prints which columns the tasks use."""
        del kwargs
        for name in self.task_names:
            *before, own = self.columns(name)
            heard = f", hears {before}" if before else ""
            print_fn(f"{name}: column {own}{heard}")


def _drawn(variable, seed: int) -> np.ndarray:
    """What a variable of an adapter begins with; α is small and random."""
    if variable.name == "scales":
        draw = initializers.RandomNormal(0.0, 0.1, seed=seed)
    elif variable.name == "bias":
        draw = initializers.Zeros()
    else:
        draw = initializers.GlorotUniform(seed=seed)
    return ops.convert_to_numpy(draw(variable.shape, dtype=variable.dtype)).copy()
