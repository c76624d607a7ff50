"""A name is a name: whatever characters it holds, and whatever it begins with."""

import numpy as np
import pytest
import small
from small import X
from small import assert_same
from small import predictions

# What these know of a task is not changed by later ones.
KEEPS = ["PAR apart", "BindAndGrow frozen", "Independent", "ProgressiveNetwork"]
ORDERS = {
    "longer first": ["site/cam", "site"],
    "shorter first": ["site", "site/cam"],
    "all": ["site/cam", "site", "site/cam/2", "a\nb", "..", " x ", "日本"],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", [*KEEPS[:2], *small.CASES])
def test_every_name_is_a_task_of_its_own(case, order, tmp_path):
    names = ORDERS[order]
    model = small.new(case)
    for i, name in enumerate(names):
        small.learn(model, i % 6, name, epochs=1)
        assert model.task_names == names[: i + 1]
        now = model.predict(X, task=name)
        if i == 0:
            first = now
        elif i == 1:
            before = predictions(model)
        assert np.isfinite(now).all()
    found = predictions(model)
    if case in KEEPS:
        np.testing.assert_array_equal(found[names[0]], first)
        for name in names[:2]:
            np.testing.assert_array_equal(found[name], before[name])

    model.save_to_preset(tmp_path / "preset")
    inside = {p.resolve().is_relative_to(tmp_path) for p in tmp_path.rglob("*")}
    assert inside == {True}
    loaded = small.loaded(tmp_path / "preset")
    assert loaded.task_names == names
    assert_same(predictions(loaded), found)

    for either in (model, loaded):
        either.remove_task("site")
        assert "site" not in either.task_names and "site/cam" in either.task_names
        rest = {name: found[name] for name in names if name != "site"}
        assert_same(predictions(either), rest)
