"""Figures of a search say what its trials found."""

import numpy as np
import pytest
from fake_results import texts

from keras_lifelong.report import style
from keras_lifelong.search import figures

ROWS = [
    {"trial": "0", "gain": 1.0, "params": 100},
    {"trial": "1", "gain": 0.5, "params": 120},  # beaten
    {"trial": "2", "gain": 2.0, "params": 150},
    {"trial": "3", "gain": 2.0, "params": 150},  # the same again
    {"trial": "4", "gain": -1.0, "params": 50},
]


def test_the_front_is_numbered():
    figure = figures.front(ROWS)
    found = texts(figure)
    assert any("3 trade-offs of 5 trials" in text for text in found)
    assert {"0", "2", "4"} <= set(found) and "1" not in found
    assert style.to_png(figure).startswith(b"\x89PNG")


def test_hypervolume_grows_to_the_whole():
    figure = figures.hypervolume(ROWS)
    line = figure.axes[0].lines[0].get_ydata()
    assert line[-1] == 1 and (np.diff(line) >= 0).all() and line[2] == line[3]
    assert any("after 5 of 5 trials" in text for text in texts(figure))
    for draw in (figures.front, figures.hypervolume):
        with pytest.raises(ValueError, match="one trial or more"):
            draw([])


def test_errors_are_to_be_small():
    rows = [{"mse": e, "params": p} for e, p in [(0.1, 100), (0.2, 50), (0.2, 100)]]
    figure = figures.front(rows, high="mse")
    found = texts(figure)
    assert any("2 trade-offs of 3 trials" in text for text in found)
    assert any("no other has less params and less mse" in text for text in found)
    heights = figure.axes[0].collections[1].get_offsets()[:, 1]
    assert sorted(heights) == [0.1, 0.2]  # as they are, not with their sign
