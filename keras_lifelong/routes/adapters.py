"""Adapters: small changes of the weights of a node that is held, one task's own.

What a layer of products gives with an adapter beside it is what it gives under weights
that hold the adapter's. A convolution of one place is the middle of a larger kernel.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import Literal

import keras
import numpy as np
from keras import ops

from keras_lifelong.routes.joint_net import JointNet
from keras_lifelong.routes.joint_net import Node
from keras_lifelong.routes.parts import Part
from keras_lifelong.seeds import derive_seed
from keras_lifelong.training.masks import Products


@dataclasses.dataclass(frozen=True)
class Form:
    """What changes a variable.

    Attributes:
        shape: of the variable.
        kind: "middle": an array (inputs, outputs) is added to the middle place of a
            kernel (…, inputs, outputs); "product": that of two matrices of few columns
            and rows; "whole": an array of the variable's shape.
        places: axes of places, of "middle".
        rank: columns of the first matrix, of "product".
    """

    shape: tuple[int, ...]
    kind: Literal["middle", "product", "whole"]
    places: int = 0
    rank: int = 0

    @property
    def sizes(self) -> list[tuple[int, ...]]:
        """Shapes of its arrays."""
        if self.kind == "product":
            rows = math.prod(self.shape[:-1])
            return [(rows, self.rank), (self.rank, self.shape[-1])]
        return [self.shape[self.places :]]

    def initial(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Arrays that change nothing yet."""
        found = [np.zeros(size, "float32") for size in self.sizes]
        if self.kind == "product":
            rows, rank = self.sizes[0]
            bound = math.sqrt(6 / (rows + rank))
            found[0] = rng.uniform(-bound, bound, (rows, rank)).astype("float32")
        return found

    def change(self, arrays: Sequence, of: Any = ops) -> Any:
        """What is added to the variable, (n, *shape).

        Args:
            arrays: those of n adapters, each (n, *size).
            of: `keras.ops`, or `numpy` of arrays.

        >>> form = Form((3, 1, 1), "middle", places=1)
        >>> form.change([np.array([[[5.0]]])], of=np)[0].ravel().tolist()
        [0.0, 5.0, 0.0]
        """
        first = arrays[0]
        if self.kind == "product":
            product = of.matmul(first, arrays[1])
            return of.reshape(product, (first.shape[0], *self.shape))
        if self.kind == "whole":
            return first
        sides = [(s // 2, s - s // 2 - 1) for s in self.shape[: self.places]]
        rest = self.shape[self.places :]
        one = of.reshape(first, (first.shape[0], *[1] * self.places, *rest))
        return of.pad(one, [(0, 0), *sides, *[(0, 0)] * len(rest)])


def form_of(variable, places: Sequence[int] = (), rank: int = 4) -> Form:
    """The form of what changes a variable.

    Args:
        variable: of a layer.
        places: the layer's `kernel_size`, if it has one.
        rank: at most, of a product; less where one would be no smaller than the kernel.
    """
    shape = tuple(variable.shape)
    count = len(places)
    if len(shape) < 2 or "bias" in variable.name:
        return Form(shape, "whole")
    if shape[:count] == tuple(places) and math.prod(shape[:count]) > 1:
        return Form(shape, "middle", places=count)
    rows, units = math.prod(shape[:-1]), shape[-1]
    most = (rows * units - 1) // (rows + units)
    return Form(shape, "product", rank=max(min(rank, most), 1))


class Adapters:
    """Room for adapters of the parts of a network, where they are trained.

    Args:
        forms: of each variable.
        room: how many adapters there are of each, n.

    Attributes:
        variables: all of them, a form's after another's: (n, *size).
    """

    def __init__(self, forms: Sequence[Form], room: int):
        self.forms, self.room = list(forms), room
        self.variables = [
            keras.Variable(np.zeros((room, *size), "float32"), name="adapter")
            for form in self.forms
            for size in form.sizes
        ]

    def by_form(self, arrays: Sequence) -> list[list]:
        """The arrays of each form."""
        rest = list(arrays)
        return [[rest.pop(0) for _ in form.sizes] for form in self.forms]

    def changes(self, arrays: Sequence | None = None) -> list:
        """What is added to each variable, (n, *shape).

        Args:
            arrays: in the place of `variables`.
        """
        arrays = self.variables if arrays is None else arrays
        arrays = [ops.convert_to_tensor(a) for a in arrays]
        pairs = zip(self.forms, self.by_form(arrays), strict=True)
        return [form.change(parts) for form, parts in pairs]


class AdaptedNet(JointNet):
    """A `JointNet` whose tasks may change nodes of others, each by adapters of its own.

    They lie in memory under `("adapter", task, part, i, k)`, the k-th array of the
    part's i-th variable. Which parts a task adapts is what is there.

    Args:
        network, parts, memory: as in `JointNet`.
        rank: see `form_of`.

    Attributes:
        forms: list of the `Form`s of each part; of what is each task's own none.
        adaptable: numbers of the parts of which an adapter is smaller than a node.
    """

    def __init__(self, network, parts: Sequence[Part], memory: Callable, rank: int = 4):
        super().__init__(network, parts, memory)
        layers = list(self.graph.layers.values())
        places = {
            id(v): getattr(layers[p], "kernel_size", ())
            for part in parts
            for p in part.layers
            for v in layers[p].variables
        }
        self.forms: list[list[Form]] = [
            [form_of(v, places[id(v)], rank) for v in self.variables(u)]
            if u in self.decided
            else []
            for u in range(len(parts))
        ]
        self.adaptable = [
            u for u in self.decided if self.adapter_params(u) < self.params(u)
        ]
        self._products = Products()

    @property
    def all_forms(self) -> list[Form]:
        """Those of all parts that are decided about, one after the other."""
        return [form for u in self.decided for form in self.forms[u]]

    def adapter_params(self, u: int) -> int:
        """Parameters of an adapter of a part."""
        return sum(math.prod(size) for form in self.forms[u] for size in form.sizes)

    def adapted(self, name: str, memory=None) -> list[int]:
        """The parts that a task adapts."""
        memory = self._memory() if memory is None else memory
        return [u for u in self.adaptable if ("adapter", name, u, 0, 0) in memory]

    def initial_adapter(self, u: int, *seed_parts) -> list[list[np.ndarray]]:
        """Arrays of an adapter that changes nothing yet, of each variable of a part."""
        rng = np.random.default_rng(derive_seed(*seed_parts, "adapter", u))
        return [form.initial(rng) for form in self.forms[u]]

    def adapter(self, name: str, u: int, memory=None) -> list[list[np.ndarray]]:
        """A task's adapter of a part."""
        memory = self._memory() if memory is None else memory
        return [
            [memory["adapter", name, u, i, k] for k in range(len(form.sizes))]
            for i, form in enumerate(self.forms[u])
        ]

    def set_adapter(self, name: str, u: int, arrays: Sequence[Sequence]) -> None:
        """Keeps a task's adapter of a part in memory."""
        memory = self._memory()
        for i, parts in enumerate(arrays):
            for k, value in enumerate(parts):
                memory["adapter", name, u, i, k] = np.array(value)

    def nodes_of(self, name, memory=None):
        memory = self._memory() if memory is None else memory
        nodes = super().nodes_of(name, memory)
        for u in self.adapted(name, memory):
            nodes[u] = self._changed(name, u, nodes[u], memory)
        return nodes

    def _changed(self, name, u, node: Node, memory) -> Node:
        """A node under the adapter of a task."""
        found = []
        adapter = zip(self.forms[u], node, self.adapter(name, u, memory), strict=True)
        for i, (form, value, arrays) in enumerate(adapter):

            def changed(value, *arrays, form=form):
                change = form.change([a[None] for a in arrays], of=np)[0]
                return (value + change).astype(value.dtype)

            key = (name, u, i)
            found.append(self._products.get(key, (value, *arrays), changed))
        return found

    def store(self, name):
        """Keeps what the network holds; what is held beneath an adapter stays."""
        if name in self.routing:
            active, adapted = self.active_nodes(), self.adapted(name)
            for u, owner in enumerate(self.routing[name]):
                if u not in adapted:
                    self.set_node(u, owner, active[u])

    def network_params(self):
        """Trainable parameters of all nodes, each counted once, and all adapters."""
        adapters = [
            self.adapter_params(u) for t in self.routing for u in self.adapted(t)
        ]
        return super().network_params() + sum(adapters)

    def remove(self, name):
        super().remove(name)
        self._products.forget(name)

    def lines(self):
        """The table as text, a line for each task."""
        lines = []
        for name, owners in self.routing.items():
            adapted = self.adapted(name)
            texts = [
                f"{part.name} of {owner}" + (", adapted" if u in adapted else "")
                for u, (part, owner) in enumerate(zip(self.parts, owners, strict=True))
            ]
            lines.append(f"{name}: " + "; ".join(texts))
        return lines

    def check_adapters(self, names: Sequence[str], shapes: dict) -> None:
        """Raises a ValueError if arrays of such shapes are no adapters of these tasks.

        Args:
            names: of tasks.
            shapes: by the names of arrays, as of `check_state`.
        """
        for name in names:
            for u in self.decided:
                start = f"memory/adapter/{name}/{u}"
                wanted = {
                    f"{start}/{i}/{k}": size
                    for i, form in enumerate(self.forms[u])
                    for k, size in enumerate(form.sizes)
                }
                there = {key: shapes[key] for key in wanted if key in shapes}
                if not there:
                    continue
                if u not in self.adaptable or there != wanted:
                    raise ValueError(
                        f"task {name!r} has an adapter of {self.parts[u].name!r} of "
                        f"arrays {there}. It takes {wanted}."
                    )
