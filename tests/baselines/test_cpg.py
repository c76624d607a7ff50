"""CPG: what is picked, trained, pruned and opened; nothing is forgotten."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from small import said_in_turn

import keras_lifelong as kl

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 6)).astype("float32")


def new(optimizer=None, **kwargs):
    backbone = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(4, "tanh", name="lower"),
            layers.BatchNormalization(),
            layers.Dense(4, "tanh", name="upper"),
        ]
    )
    model = kl.CPG(backbone, **{"prune": 0.5, "prune_steps": 2, **kwargs})
    model.compile(optimizer or keras.optimizers.Adam(0.02))
    return model


def fit(model, name, i, **kwargs):
    kwargs = {"epochs": 1, "batch_size": 16, "verbose": 0, **kwargs}
    y = (X[:, i] > 0).astype("int32")
    data = (X, y)
    model.fit(kl.Task(name, train=data, validation=data), **kwargs)


def test_new_weights_are_pruned_little_by_little_and_stay():
    model, phases = new(prune_epochs=2), []
    learn = model.learn

    def spy(task):
        generator, result = learn(task), None
        while True:
            try:
                phase = generator.send(result)
            except StopIteration:
                return
            free = [int(f.sum()) for f in phase.arguments["free"]]
            phases.append((phase.name, phase.epochs, free))
            result = yield phase

    model.learn = spy
    fit(model, "a", 0)
    # 1 - (1 - 1 / 2)³ = 7 / 8 of a half, then a half
    assert phases == [
        ("picking", None, [24, 16]),
        ("compacting", 2, [24 - 10, 16 - 7]),
        ("compacting", 2, [12, 8]),
    ]
    said, kept = model.predict(X, task="a"), model.memory["weights", 0].copy()
    mine = model.mask("a", 0)
    assert mine.sum() == 12
    np.testing.assert_array_equal(kept[~mine], model._parts.first[0][~mine])
    fit(model, "b", 1)
    assert phases[3] == ("picking", None, [12, 8])
    np.testing.assert_array_equal(model.predict(X, task="a"), said)
    now = model.memory["weights", 0]
    np.testing.assert_array_equal(now[mine], kept[mine])
    both = model.mask("b", 0)
    assert (both & ~mine).sum() == 6 and model.used()[0].sum() == 18
    np.testing.assert_array_equal(now[both & ~mine] != kept[both & ~mine], True)


def test_old_weights_are_picked_by_a_mask_that_is_learned():
    model = new(keras.optimizers.SGD(1.0), pick_rate=1.0)
    fit(model, "a", 0)
    fit(model, "b", 1, epochs=4)
    first, second = (model.mask(name, 0) for name in "ab")
    assert 0 < (first & second).sum() < first.sum()  # some are left out
    timid = new(keras.optimizers.SGD(1.0), pick_rate=1e-6)
    for i, name in enumerate("ab"):
        fit(timid, name, i)
    first, second = (timid.mask(name, 0) for name in "ab")
    assert (first & second).sum() == first.sum()  # M̂ begins above the threshold


def test_a_step_is_of_free_weights_and_of_the_mask_of_used_ones():
    model = new(keras.optimizers.SGD(0.5), pick_rate=0.25)
    kernels, search = model._parts.kernels, model._searched
    before = [np.ones(v.shape, "float32") for v in kernels]
    used = [np.zeros(v.shape, "float32") for v in kernels]
    used[0][0] = 1
    free = [1 - u for u in used]
    arguments = {"used": used, "free": free}
    arguments = keras.tree.map_structure(ops.convert_to_tensor, arguments)
    moved = [ops.convert_to_tensor(b + 1) for b in before]
    scores = [np.full(v.shape, 0.01, "float32") for v in kernels]
    lower = [ops.convert_to_tensor(s - 0.04) for s in scores]
    given = [ops.convert_to_tensor(b) for b in (*before, *scores)]
    after = model.held(given, [*moved, *lower], arguments, 0.5)
    after = [ops.convert_to_numpy(a) for a in after]
    np.testing.assert_array_equal(after[0], 1 + free[0])
    np.testing.assert_allclose(after[2][0], 0.01 - 0.25 * 0.04, atol=1e-7)
    np.testing.assert_array_equal(after[2][1:], scores[0][1:])
    assert not ops.convert_to_numpy(kernels[0])[0].any()  # no longer picked
    gradients = [ops.ones(v.shape) for v in (*kernels, *search.scores)]
    found = model.of_free(gradients, [], arguments)
    np.testing.assert_array_equal(ops.convert_to_numpy(found[0]), free[0])
    np.testing.assert_array_equal(ops.convert_to_numpy(found[2]), used[0])


def test_it_grows_while_the_target_is_missed_and_there_is_room():
    model = new(target=2.0, max_width=1.5, growth=0.25, prune_epochs=1)
    assert [tuple(v.shape) for v in model._parts.kernels] == [(6, 6), (6, 4)]
    said = said_in_turn(model, fit, X, "ab")
    assert model.widths() == [6, 4]  # by 1 and by 1: there was room for both
    kinds = [(e["layer"], e["kind"], e["count"]) for e in model.growth]
    assert kinds == [
        ("lower", "initial", 4),
        ("upper", "initial", 4),
        ("lower", "add", 1),
        ("lower", "add", 1),
    ]
    assert model.growth[2]["why"]["target"] == 2.0
    for name, found in said.items():
        np.testing.assert_array_equal(model.predict(X, task=name), found)
    assert model.mask("a", 0)[:, 4:].any()
    assert model.mask("a", 0).sum() == 18  # a target out of reach holds nothing
    plain = model.task_model("a")
    np.testing.assert_allclose(plain.predict(X, verbose=0), said["a"], atol=1e-5)


def test_pruning_ends_before_the_target_is_missed():
    model = new(target=0.0)  # nothing misses it
    fit(model, "a", 0)
    assert model.mask("a", 0).sum() == 12 and model.growth[-1]["kind"] == "initial"
    model = new(target=0.0)
    model.misses = lambda result: result.name == "compacting"
    fit(model, "a", 0)
    assert model.mask("a", 0).all() and model.mask("a", 1).all()
    with model.read("a"):
        kernel = ops.convert_to_numpy(model.network.layers[0].kernel)
    np.testing.assert_array_equal(kernel, model.memory["weights", 0])


def test_a_grown_model_is_saved_and_tasks_are_removed(tmp_path):
    model = new(target=2.0, max_width=1.5)
    for i, name in enumerate("ab"):
        fit(model, name, i)
    model.save_to_preset(tmp_path / "preset")
    again = kl.LifelongModel.from_preset(tmp_path / "preset")
    assert again.widths() == [6, 4]
    said = model.predict(X, task="a")
    np.testing.assert_array_equal(again.predict(X, task="a"), said)
    again.remove_task("b")
    np.testing.assert_array_equal(again.predict(X, task="a"), said)
    mine = again.mask("a", 0)
    freed = again.memory["weights", 0][~mine]
    np.testing.assert_array_equal(freed, again._parts.first[0][~mine])
    fit(again, "c", 2)
    np.testing.assert_array_equal(again.predict(X, task="a"), said)


def test_a_target_needs_validation_data():
    model, y = new(target=0.9), (X[:, 0] > 0).astype("int32")
    with pytest.raises(ValueError, match="`target` needs validation data"):
        model.fit(kl.Task("a", train=(X, y), validation_split=0), verbose=0)
    with pytest.raises(ValueError, match="`validation_freq` must name"):
        fit(model, "a", 0, validation_freq=[7])
    assert model.task_names == []
