"""The digits of scikit-learn."""

from __future__ import annotations

import numpy as np

from keras_lifelong import streams


def test_five_tasks_hold_every_image_once():
    stream = streams.get("digits")
    assert len(stream) == 5
    seen = []
    for task in stream:
        for split, size in (("train", 239), ("validation", 26), ("test", 89)):
            x, y = getattr(task, split)
            assert x.shape[1:] == (8, 8, 1) and x.dtype == "float32"
            assert x.min() == 0 and x.max() == 1
            assert set(y) == {0, 1} and size <= len(y) <= size + 6
            seen.append(x)
    assert len(np.concatenate(seen)) == 1797


def test_test_images_do_not_depend_on_the_seed():
    one, two = (streams.get("digits", seed=seed)[2] for seed in (0, 1))
    np.testing.assert_array_equal(one.test[0], two.test[0])
    assert not np.array_equal(one.validation[0], two.validation[0])
