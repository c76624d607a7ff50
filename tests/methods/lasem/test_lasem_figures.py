"""Figures of LASEM say what the growth log says."""

import numpy as np
import pytest
from fake_results import fake

from keras_lifelong.methods.lasem import figures


def test_configurations_are_read_off_the_growth_log():
    result = fake(2, method="LASEM", log=False)
    growth = []
    for t, task in enumerate(result.task_names):
        for layer, kind, p in (("a", "share", 0.9), ("b", "own", 0.25)):
            why = {"probability_of_sharing": p - 0.1 * t}
            growth.append(
                {"task": task, "layer": layer, "kind": kind, "count": 4, "why": why}
            )
        why = {"configuration": [1, 0], "trace": [[0.2] * 4, [0.1, 0.1, 0.6, 0.2]]}
        growth.append(
            {
                "task": task,
                "layer": "configuration",
                "kind": "configuration",
                "count": 0,
                "why": {**why, "trace_every": 5},
            }
        )
    result.growth = growth
    tasks, layers, table = figures.configurations(result)
    assert (tasks, layers) == (result.task_names, ["a", "b"])
    np.testing.assert_allclose(table, [[0.9, -0.25], [0.8, -0.15]])
    trace, every = figures.traces(result)["task_0"]
    assert every == 5 and trace.shape == (2, 4)
    texts = [t.get_text() for t in figures.configuration_table(result).axes[0].texts]
    assert texts == ["100%", "0%"]
    titles = [a.get_title(loc="left") for a in figures.posterior(result).axes]
    assert titles == ["task_0: 10", "task_1: 10"]
    for entry in list(result.growth):  # a third layer, chosen with the first
        if entry["layer"] == "b":
            result.growth.append({**entry, "layer": "c"})
    axes = figures.configuration_table(result).axes[1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b +1"]
    with pytest.raises(ValueError, match="no choices of shared layers"):
        figures.configuration_table(fake(2))
