"""Which layers of a graph have one width, and what lies where on its wires.

Where two tensors are added, unit i of one meets unit i of the other: a unit can come,
go or be split in both alone. So all layers that give what an `Add` takes are one
*group*, and a group is what grows. A union-find over the wires finds the groups.

A wire's last axis is a row of *blocks*, each the units of one group: one block after a
layer, two after a `Concatenate` of two, as many as there are places after a `Flatten`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_lifelong.graph import Step
from keras_lifelong.graph import Wire


@dataclasses.dataclass(frozen=True)
class Block:
    """A piece of a wire's last axis.

    Attributes:
        group: the number of the group whose units it is; None: of a fixed width.
        width: of a fixed one; 0 of a group's, whose capacity changes.
    """

    group: int | None
    width: int = 0

    def size(self, capacities: Sequence[int]) -> int:
        return self.width if self.group is None else capacities[self.group]


@dataclasses.dataclass(frozen=True)
class Layout:
    """What lies on a wire's last axis, and so in the rows of a kernel that reads it.

    Args:
        blocks: from the first to the last.

    Rows are given as index arrays, capacities as a list by group.

    Example:

    >>> layout = Layout((Block(0), Block(None, 2), Block(0)))
    >>> layout.width([3])
    8
    >>> layout.rows([3], {0: [1]}).tolist()  # the fixed ones are always there
    [1, 3, 4, 6]
    >>> layout.rows_of(0, [3], [1]).tolist()
    [1, 6]
    """

    blocks: tuple[Block, ...]

    @property
    def groups(self) -> list[int]:
        """The groups in it, each once, in order."""
        found = [b.group for b in self.blocks if b.group is not None]
        return list(dict.fromkeys(found))

    @property
    def grows(self) -> bool:
        return bool(self.groups)

    @property
    def single(self) -> int | None:
        """The group, if it is one group's units and nothing else."""
        return self.blocks[0].group if len(self.blocks) == 1 else None

    @property
    def is_uniform(self) -> bool:
        """Whether all blocks are alike, so that a width says what each has."""
        return len(set(self.blocks)) == 1

    def width(self, capacities: Sequence[int]) -> int:
        return sum(block.size(capacities) for block in self.blocks)

    def rows(self, capacities: Sequence[int], units: Mapping[int, Any]) -> np.ndarray:
        """Rows of the units of each group, and of all that is fixed."""
        found, start = [], 0
        for block in self.blocks:
            size = block.size(capacities)
            chosen = np.arange(size) if block.group is None else units[block.group]
            found.append(start + np.asarray(chosen, int))
            start += size
        return np.concatenate(found)

    def rows_of(self, group: int, capacities: Sequence[int], units) -> np.ndarray:
        """Rows of some units of one group: as many for each as it has blocks."""
        found, start = [], 0
        for block in self.blocks:
            if block.group == group:
                found.append(start + np.asarray(units, int))
            start += block.size(capacities)
        return np.concatenate(found) if found else np.array([], int)

    def units_of(self, rows, capacities: Sequence[int]) -> dict[int, np.ndarray]:
        """Units of each group that some rows are of: the inverse of `rows`."""
        rows, start = np.asarray(rows, int), 0
        found: dict[int, list] = {group: [] for group in self.groups}
        for block in self.blocks:
            size = block.size(capacities)
            if block.group is not None:
                here = rows[(rows >= start) & (rows < start + size)]
                found[block.group].append(here - start)
            start += size
        return {g: np.unique(np.concatenate(units)) for g, units in found.items()}

    def moved(
        self, before: Sequence[int], after: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where rows were, and where they are when capacities are others.

        Rows for which there is no room any more are in neither.
        """
        old, new, start, begin = [], [], 0, 0
        for block in self.blocks:
            sizes = block.size(before), block.size(after)
            kept = np.arange(min(sizes))
            old.append(start + kept)
            new.append(begin + kept)
            start, begin = start + sizes[0], begin + sizes[1]
        return np.concatenate(old), np.concatenate(new)


@dataclasses.dataclass(frozen=True)
class Role:
    """What a step does with the units of its inputs.

    Attributes:
        kind: "produces": a unit of its own for each of its outputs. "follows": each
            channel stays where it is. "ties": its inputs are merged unit by unit.
            "joins": they are laid side by side. "folds": some of an input's places are
            laid side by side on its last axis. "mixes": it has as many weights as its
            inputs have units, and does not grow, so those may not either. "fixed": it
            takes what cannot grow only.
        why: of "fixed", what to say where its input grows.
    """

    kind: str
    why: str = ""


class WidthGroups:
    """The groups of a graph, and the layout of each of its wires.

    Args:
        steps: of the graph, in order.
        inputs: its inputs' wires, whose widths are fixed.
        role: `role(step)` gives its `Role`.

    Raises:
        ValueError: if a step cannot take what grows; it begins with the step's path.

    Attributes:
        groups: for each group the paths of the layers whose units it is, in order.
        layouts: dict of `Layout`s by wire.
        ungrown: dict by path of the layers that might grow and do not, with the reason.
    """

    def __init__(
        self, steps: Sequence[Step], inputs: Iterable[Wire], role: Callable
    ) -> None:
        self._parents: list[int] = []
        self._widths: list[int] = []
        self._fixed: dict[int, str] = {}  # the reason, by root
        self._found: dict[Wire, tuple[int, ...]] = {}
        self._made: dict[str, tuple[tuple[int, ...], int]] = {}  # by path: in, out
        demands: list[tuple[Step, str]] = []
        for wire in inputs:
            self._found[wire] = (self._new(wire, "the network's input has its width"),)
        for step in steps:
            kind = role(step)
            if kind.kind == "fixed":
                demands.append((step, kind.why))
            self._take(step, kind.kind)
        for step, why in demands:
            for wire in step.inputs:
                if any(self._root(a) not in self._fixed for a in self._found[wire]):
                    raise ValueError(f"{step.path}: {why}")
        self._number()

    # Union-find

    def _new(self, wire: Wire, fixed: str = "") -> int:
        number = len(self._parents)
        self._parents.append(number)
        self._widths.append((wire.shape[-1] if wire.shape else 1) or 0)
        if fixed:
            self._fixed[number] = fixed
        return number

    def _root(self, atom: int) -> int:
        while self._parents[atom] != atom:
            self._parents[atom] = self._parents[self._parents[atom]]
            atom = self._parents[atom]
        return atom

    def _fix(self, atoms: Iterable[int], why: str) -> None:
        for atom in atoms:
            self._fixed.setdefault(self._root(atom), why)

    def _tie(self, a: tuple[int, ...], b: tuple[int, ...], path: str) -> None:
        """Makes the groups of two layouts the same ones, block by block."""
        widths = [[self._widths[x] for x in layout] for layout in (a, b)]
        if widths[0] != widths[1]:
            why = f"{path!r} takes units together that lie in other blocks"
            self._fix((*a, *b), why)
            return
        for x, y in zip(a, b, strict=True):
            x, y = self._root(x), self._root(y)
            if x == y:
                continue
            x, y = min(x, y), max(x, y)
            self._parents[y] = x
            if y in self._fixed:
                self._fixed.setdefault(x, self._fixed[y])

    # Steps

    def _take(self, step: Step, kind: str) -> None:
        given = [self._found[wire] for wire in step.inputs]
        out = step.outputs[0]
        if kind == "produces":
            if step.path in self._made:  # a shared layer: its inputs are laid out alike
                self._tie(self._made[step.path][0], given[0], step.path)
            else:
                self._made[step.path] = (given[0], self._new(out))
            self._found[out] = (self._made[step.path][1],)
        elif kind == "ties":
            self._found[out] = self._merged(step, given, out)
        elif kind == "joins":
            self._found[out] = self._joined(step, given)
        elif kind == "folds":
            width = step.inputs[0].shape[-1] or 0
            self._found[out] = given[0] * ((out.shape[-1] or 0) // max(width, 1))
        elif kind == "follows":
            self._found[out] = given[0]
            if step.path in self._made:
                self._tie(self._made[step.path][0], given[0], step.path)
            self._made.setdefault(step.path, (given[0], -1))
        else:
            if kind == "mixes":
                why = f"{step.path!r} takes its units and does not grow"
                self._fix((a for layout in given for a in layout), why)
            for wire in step.outputs:
                self._found[wire] = (self._new(wire, f"{step.path!r} does not grow"),)

    def _merged(self, step, given, out) -> tuple[int, ...]:
        """The layout of operands that meet unit by unit.

        One of width 1 that is spread over the others may not become wider.
        """
        whole = []
        for wire, layout in zip(step.inputs, given, strict=True):
            if wire.shape[-1] == out.shape[-1]:
                whole.append(layout)
            else:
                self._fix(layout, f"{step.path!r} spreads its one unit over others")
        for layout in whole[1:]:
            self._tie(whole[0], layout, step.path)
        return whole[0]

    def _joined(self, step, given) -> tuple[int, ...]:
        rank = len(step.inputs[0].shape)
        if step.layer.axis in (-1, rank - 1):
            return tuple(atom for layout in given for atom in layout)
        for layout in given[1:]:
            self._tie(given[0], layout, step.path)
        return given[0]

    # Results

    def _number(self) -> None:
        members: dict[int, list[str]] = {}
        self.ungrown: dict[str, str] = {}
        for path, (_, atom) in self._made.items():
            if atom < 0:
                continue
            root = self._root(atom)
            if root in self._fixed:
                self.ungrown[path] = self._fixed[root]
            else:
                members.setdefault(root, []).append(path)
        numbers = {root: i for i, root in enumerate(members)}
        self.groups = list(members.values())
        self.layouts = {
            wire: Layout(tuple(self._block(atom, numbers) for atom in layout))
            for wire, layout in self._found.items()
        }

    def _block(self, atom: int, numbers: dict[int, int]) -> Block:
        root = self._root(atom)
        if root in numbers:
            return Block(numbers[root])
        return Block(None, self._widths[root])
