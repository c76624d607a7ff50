"""How the set for a task is chosen, and what the choice is worth."""

from __future__ import annotations

from typing import Any
from typing import Literal
from typing import get_args

import numpy as np

from keras_lifelong.methods.ari.generated import GeneratedModel
from keras_lifelong.methods.ari.parameters import score

Selection = Literal["estimator", "random", "exemplar_loss", "drawn"]
SELECTIONS: tuple[Selection, ...] = get_args(Selection)


class Selecting(GeneratedModel):
    """A `GeneratedModel` that says how to `choose` a set, and how to `adapt` one."""

    def choose(self, name: str, how: Selection | None = None) -> Any:
        """The set from which a task is adapted."""
        raise NotImplementedError(f"{type(self).__name__} chooses.")

    def adapt(self, name: str, parameters: Any, epochs: int | None = None) -> Any:
        """A set as fine-tuning on the examples of a task makes it."""
        raise NotImplementedError(f"{type(self).__name__} adapts.")

    def compare_selections(self, tasks, epochs=(0, 1, 10)) -> list[dict]:
        """What the choice of a set is worth: accuracy on tasks by how it is chosen.

        To be shown beside every result: much of what ARI reaches, the examples reach by
        themselves ("drawn"), if they are fine-tuned on for long enough.

        Args:
            tasks: learned `Task`s with test data.
            epochs: of fine-tuning on the examples, one row for each and selection.

        Returns:
            List of dicts of "selection", "epochs" and "accuracy", the mean over tasks.
        """
        rows, tested = [], [self.load_task(task) for task in tasks]
        for selection in SELECTIONS:
            chosen = [self.choose(task.name, selection) for task in tested]
            for count in epochs:
                found = []
                for task, start in zip(tested, chosen, strict=True):
                    used, (x, y) = self.adapt(task.name, start, count), task.test
                    logits = self.form.answers(used, x)[:, : task.spec.units]
                    found.append(score(logits, y, task.spec.kind))
                row = {"selection": selection, "epochs": count}
                rows.append({**row, "accuracy": float(np.mean(found))})
        return rows
