"""GPM, PackNet, WSN and SupSup: what they keep, to the last bit where they say so."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from small import said_in_turn

import keras_lifelong as kl
from keras_lifelong.baselines.supsup import signed_constants

pytestmark = pytest.mark.usefixtures("eager")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 4, 4, 1)).astype("float32")
MASKS = {
    "PackNet": {"prune": 0.5},
    "WSN": {"capacity": 0.4},
    "SupSup": {"capacity": 0.5},
}


def backbone():
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Conv2D(3, 2),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.1),
            layers.Flatten(),
            layers.Dense(4, "relu"),
        ]
    )


def new(method, optimizer=None, network=backbone, **kwargs):
    model = getattr(kl, method)(network(), **{**MASKS.get(method, {}), **kwargs})
    model.compile(optimizer or keras.optimizers.Adam(0.02))
    return model


def fit(model, name, i, **kwargs):
    kwargs = {"epochs": 1, "batch_size": 16, "verbose": 0, **kwargs}
    y = (X[:, i, i, 0] > 0).astype("int32")
    model.fit(kl.Task(name, train=(X, y), validation_split=0), **kwargs)


@pytest.fixture(scope="module", params=MASKS)
def learned(request, eager_module):
    """A model of three tasks, and what it said of each when that was learned."""
    model = new(request.param)
    return model, said_in_turn(model, fit, X)


def test_nothing_is_forgotten_to_the_last_bit(learned):
    model, said = learned
    for name, found in said.items():
        np.testing.assert_array_equal(model.predict(X, task=name), found)


def test_how_many_weights_a_task_uses(learned):
    model, _ = learned
    sizes = [12, 108]  # of the convolution and of the dense layer
    assert [v.shape for v in model._parts.kernels] == [(2, 2, 1, 3), (27, 4)]
    counts = {
        name: [int(model.mask(name, i).sum()) for i in range(2)] for name in "abc"
    }
    if type(model).__name__ == "PackNet":  # half of what is free, and all before
        assert counts == {"a": [6, 54], "b": [9, 81], "c": [11, 95]}
        for i in range(2):
            masks = [model.mask(name, i) for name in "abc"]
            assert (masks[0] <= masks[1]).all() and (masks[1] <= masks[2]).all()
            free = model.memory["weights", i][~masks[2]]
            assert free.size and not free.any()
    else:
        share = model.options.capacity
        assert all(n == [round(share * s) for s in sizes] for n in counts.values())
    union = [model.used()[i].sum() for i in range(2)]
    own = 3 * (3 + 4 + 2 * 3 + (4 * 2 + 2))  # biases, normalisation and heads
    assert model.count_params() == sum(union) + own


def test_a_task_is_learned_again_and_others_stay(learned, tmp_path):
    model, said = learned
    model.save_to_preset(tmp_path / "preset")
    again = kl.LifelongModel.from_preset(tmp_path / "preset")
    fit(again, "a", 2)
    assert (again.predict(X, task="a") != said["a"]).any()
    for name in "bc":
        np.testing.assert_array_equal(again.predict(X, task=name), said[name])
    again.remove_task("c")
    np.testing.assert_array_equal(again.predict(X, task="b"), said["b"])
    fit(again, "d", 3)
    np.testing.assert_array_equal(again.predict(X, task="b"), said["b"])


def test_what_a_callback_saves_predicts_as_what_is_trained(learned, tmp_path):
    """In the middle of a phase, when the task has no mask yet."""
    model, found = new(type(learned[0]).__name__), []

    class Saves(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            now = self.model.predict(X, task="a")
            self.model.save_to_preset(tmp_path / f"{len(found)}" / "preset")
            path = tmp_path / f"{len(found)}" / "preset"
            other = kl.LifelongModel.from_preset(path)
            found.append((now, other.predict(X, task="a")))

    fit(model, "a", 0, callbacks=[Saves()])
    for now, then in found:
        np.testing.assert_array_equal(now, then)


def test_one_of_many_tasks_is_loaded_without_asking_all_for_each(
    learned, tmp_path, monkeypatch
):
    model, said = learned
    model.save_to_preset(tmp_path / "preset")
    asked, used = [], type(model).used
    monkeypatch.setattr(
        type(model), "used", lambda self, *a, **k: (asked.append(1), used(self))[1]
    )
    loaded = kl.LifelongModel.from_preset(tmp_path / "preset", tasks=["b"])
    assert loaded.task_names == ["b"] and len(asked) <= 2  # once they all are gone
    np.testing.assert_array_equal(loaded.predict(X, task="b"), said["b"])


def test_packnet_frees_what_only_a_removed_task_used():
    model = new("PackNet")
    for i, name in enumerate("ab"):
        fit(model, name, i)
    first = [model.mask("a", i) for i in range(2)]
    model.remove_task("b")
    for i, mask in enumerate(first):
        np.testing.assert_array_equal(model.used()[i], mask)
        assert not model.memory["weights", i][~mask].any()


@pytest.mark.parametrize("method", ["PackNet", "WSN", "SupSup"])
def test_nothing_is_left_of_the_only_task(method):
    model, fresh = new(method), new(method)
    fit(model, "a", 0)
    model.remove_task("a")
    assert not model.memory.shared and not model.network_params()
    for each in (model, fresh):
        fit(each, "b", 1)
    same = model.predict(X, task="b"), fresh.predict(X, task="b")
    np.testing.assert_array_equal(*same)


def test_weights_of_supsup_are_drawn_once():
    model = new("SupSup")
    fit(model, "a", 0)
    weights = [model.memory["weights", i].copy() for i in range(2)]
    assert np.unique(np.abs(weights[0])).size == 1
    assert float(np.abs(weights[0]).max()) == pytest.approx((2 / (4 * 0.5)) ** 0.5)
    fit(model, "b", 1)
    for i, values in enumerate(weights):
        np.testing.assert_array_equal(model.memory["weights", i], values)
    found = signed_constants(np.array([[-3.0], [0.0]]), 0.5)
    np.testing.assert_allclose(found, [[-(2**0.5)], [2**0.5]], rtol=1e-6)


@pytest.mark.parametrize("method", ["WSN", "SupSup"])
def test_of_pretrained_weights_the_largest_are_used_first(method):
    given = backbone()
    model = new(method, keras.optimizers.SGD(0.0), lambda: given, pretrained=True)
    fit(model, "a", 0)
    kernels = [v for v in given.trainable_variables if len(v.shape) > 1]
    for index, kernel in enumerate(kernels):
        used, size = model.mask("a", index), np.abs(ops.convert_to_numpy(kernel))
        assert used.sum() == round(MASKS[method]["capacity"] * size.size)
        assert size[used].min() >= size[~used].max()


def test_wsn_moves_the_weights_that_no_task_uses():
    model = new("WSN")
    fit(model, "a", 0)
    weights = [model.memory["weights", i].copy() for i in range(2)]
    masks = [model.mask("a", i) for i in range(2)]
    fit(model, "b", 1)
    for i, mask in enumerate(masks):
        now = model.memory["weights", i]
        np.testing.assert_array_equal(now[mask], weights[i][mask])
        assert (now[~mask] != weights[i][~mask]).any()
        assert (mask & model.mask("b", i)).any()  # and uses again what is frozen


def test_packnet_shares_equally_by_a_number_for_each_task():
    """12 and 108 weights in thirds; the last number is for all that come after."""
    model = new("PackNet", prune=[0.667, 0.5, 0.0])
    for i, name in enumerate("abcd"):
        fit(model, name, i)
    uses = [[int(model.mask(name, i).sum()) for i in range(2)] for name in "abcd"]
    assert uses == [[4, 36], [8, 72], [12, 108], [12, 108]]
    for i in range(2):
        np.testing.assert_array_equal(model.mask("c", i), model.mask("d", i))
    with pytest.raises(ValueError, match=r"`prune` must have a number for a task"):
        new("PackNet", prune=[])


# GPM


@pytest.mark.parametrize("method", ["GPM", "TRGP"])
def test_each_layer_may_have_its_own_share_of_what_is_kept(method):
    """All of the first layer's directions and none of the second's."""
    model = new(method, threshold=[1.0, 0.0], increase=0.0)
    fit(model, "a", 0)
    assert [basis.shape for basis in model.bases()] == [(5, 5), (28, 0)]
    first, second = model.network.layers[0], model.network.layers[-1]
    before = [ops.convert_to_numpy(layer.kernel).copy() for layer in (first, second)]
    fit(model, "b", 1, epochs=3)
    np.testing.assert_allclose(first.kernel, before[0], atol=1e-5)
    assert (ops.convert_to_numpy(second.kernel) != before[1]).any()
    with pytest.raises(ValueError, match="a list of 2, one for each of the lay"):
        new(method, threshold=[0.9])


def test_gpm_changes_no_outputs_where_it_keeps_all_directions():
    """Of few examples, of which all directions are kept: normalisation is by task."""
    global X
    model = new("GPM", threshold=1.0, samples=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "X", X[:2])
        fit(model, "a", 0)
        before = model.predict(X, task="a")
        weights = model.network.get_weights()
        few = X
    fit(model, "b", 1, epochs=3)
    np.testing.assert_allclose(model.predict(few, task="a"), before, atol=1e-4)
    moved = [
        np.abs(a - b).max()
        for a, b in zip(weights, model.network.get_weights(), strict=True)
    ]
    assert max(moved) > 0.01


def test_gpm_forgets_less_and_counts_directions():
    drift = {}
    for method, options in (("Finetune", {}), ("GPM", {"threshold": 0.99})):
        model = new(method, keras.optimizers.SGD(0.1), **options)
        fit(model, "a", 0, epochs=2)
        before = model.predict(X, task="a")
        fit(model, "b", 1, epochs=4)
        drift[method] = np.abs(model.predict(X, task="a") - before).mean()
    assert drift["GPM"] < 0.3 * drift["Finetune"]
    for i, basis in enumerate(model.bases()):
        assert basis.shape[0] == (5, 28)[i] and 0 < basis.shape[1] <= basis.shape[0]
        np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-5)


@pytest.mark.parametrize("layer", [layers.LSTM(3), layers.Embedding(4, 2)])
def test_gpm_names_the_layer_that_it_cannot_carry(layer):
    given = (3, 2) if isinstance(layer, layers.LSTM) else (3,)
    network = keras.Sequential([keras.Input(given), layer, layers.Flatten()])
    with pytest.raises(ValueError, match=f"GPM cannot carry the layer '{layer.name}'"):
        kl.GPM(network)


def test_own_values_of_normalisation_are_by_task():
    model = new("GPM")
    for i, name in enumerate("ab"):
        fit(model, name, i)
    one, two = (model.memory.records[name].own for name in "ab")
    assert len(one) == 4 and any((one[i] != two[i]).any() for i in one)
    assert ops.convert_to_numpy(model.network.layers[1].gamma).shape == (3,)
