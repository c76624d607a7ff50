"""DEN does what its paper says, step by step."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl
from keras_lifelong.methods.den.regions import Region
from keras_lifelong.methods.den.regions import Snapshot

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 6)).astype("float32")
STILL = {"l1": 0.0, "l2": 0.0, "group_lasso": 0.0}


def backbone():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="relu", name="lower"),
            layers.Dense(5, activation="relu", name="upper"),
        ]
    )


def new(optimizer=None, **kwargs):
    kwargs = {"growth": 3, "bucket": 8, **kwargs}
    model = kl.DEN(backbone(), **kwargs)
    model.compile(optimizer or keras.optimizers.Adam(0.01))
    return model


def fit(model, i, **kwargs):
    y = (X[:, i] * X[:, i - 1] > 0).astype("int32")
    kwargs = {"epochs": 4, "batch_size": 16, "verbose": 0, **kwargs}
    model.fit(X, y, task=f"t{i}", **kwargs)


def entries(model, kind, task=None):
    found = [e for e in model.growth if e["kind"] == kind]
    return [e for e in found if task in (None, e["task"])]


class Watch(keras.callbacks.Callback):
    """Keeps the network's weights at the beginning and the end of every phase."""

    def __init__(self):
        super().__init__()
        self.phases = {}

    def on_phase_begin(self, task, phase):
        self.name = phase
        self.phases[phase] = [self.weights()]

    def on_phase_end(self, logs):
        self.phases[self.name].append(self.weights())

    def weights(self):
        return [layer.kernel_array() for layer in self.model.network.growable]


def test_a_task_learned_at_rate_zero_changes_nothing():
    model = new(keras.optimizers.SGD(0.0), **STILL)
    fit(model, 1)
    before = model.predict(X, task="t1")
    fit(model, 2)
    assert entries(model, "add", "t2")
    np.testing.assert_allclose(model.predict(X, task="t1"), before, atol=1e-6)
    assert not entries(model, "split")  # nothing drifted


def test_sparse_training_leaves_exact_zeros():
    model = new(l1=3e-3)
    fit(model, 1, epochs=20)
    kernel = model.network.growable[0].kernel_array()
    used = kernel[:, model.network.growable[0].units_at()]
    assert 0.02 < (used == 0).mean() < 0.98, used


def test_selection_follows_non_zero_weights_breadth_first():
    model = new()
    fit(model, 1, epochs=1)
    lower, upper = model.network.growable
    kernel = np.zeros(upper.kernel.shape, "float32")
    kernel[[0, 3, 6], [1, 1, 4]] = 0.5
    upper.kernel.assign(kernel)
    head = np.zeros(model.head.kernel.shape, "float32")
    head[1, 0] = -0.1
    model.head.kernel.assign(head)
    selected = model.select_units("t1")
    assert selected.units[1].tolist() == [1]
    assert selected.units[0].tolist() == [0, 3]


def test_selection_through_convolution_and_flatten():
    net = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Conv2D(3, 3, padding="same", activation="relu"),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(2, activation="relu"),
        ]
    )
    model = kl.DEN(net, bucket=4)
    model.add_task("a", kl.TaskSpec(2))
    model.activate("a")
    first, second, dense = model.network.growable
    model.head.kernel.assign(np.eye(4, 2, dtype="float32") * [[1], [0], [0], [0]])
    kernel = np.zeros(dense.kernel.shape, "float32")
    kernel[5 * 4 + 2, 0] = 1  # position 5, channel 2
    dense.kernel.assign(kernel)
    kernel = np.zeros(second.kernel.shape, "float32")
    kernel[2, 0, 1, 2] = 1
    second.kernel.assign(kernel)
    selected = model.select_units("a")
    assert [u.tolist() for u in selected.units] == [[1], [2], [0]]
    assert first.units_at().size == 3


def test_only_selected_weights_move_and_expansion_moves_only_new_ones():
    model = new()
    fit(model, 1)
    chosen = Region((np.array([0, 2]), np.array([1, 3])))
    model.select_units = lambda task: chosen
    watch = Watch()
    fit(model, 2, callbacks=[watch])
    masks = [np.zeros((6, 8), bool), np.zeros((8, 8), bool)]
    masks[0][:, [0, 2]] = True
    masks[1][np.ix_([0, 2], [1, 3])] = True
    for mask, before, after in zip(
        masks, *watch.phases["selective retraining"], strict=True
    ):
        assert (before[~mask] == after[~mask]).all()
        assert (before != after).any()
    before, after = watch.phases["expansion"]
    assert (before[0][:, :8] == after[0][:, :8]).all()
    assert (before[1][:8, :5] == after[1][:8, :5]).all()
    assert (before[0][:, 8:11] != after[0][:, 8:11]).any()


def test_shared_weights_are_not_shrunk_by_later_tasks():
    """μ acts on the first task, on heads and on new weights."""
    model = new(l1=1e-2, expansion=None, split=False, drift=0.0, l2=0.0)
    fit(model, 1, epochs=1)
    model.compile(keras.optimizers.SGD(0.0))
    before = [layer.kernel_array() for layer in model.network.growable]
    fit(model, 2)
    after = [layer.kernel_array() for layer in model.network.growable]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_a_low_loss_adds_nothing_and_the_next_task_works():
    model = new(loss_threshold=1e9, split_threshold=1e9)
    for i in (1, 2, 3):
        fit(model, i)
    assert not entries(model, "add") and not entries(model, "split")
    assert [layer.units_at().size for layer in model.network.growable] == [8, 5]


def test_dead_new_units_are_removed_with_their_rows():
    model = new(group_lasso=10.0)  # kills every group in the first step
    fit(model, 1)
    size = model.network_params()
    fit(model, 2)
    assert all(e["count"] == 0 for e in entries(model, "add"))
    assert all(e["why"]["removed"] == 3 for e in entries(model, "add"))
    lower, upper = model.network.growable
    free = np.setdiff1d(np.arange(lower.capacity), lower.units_at())
    assert (lower.kernel_array()[:, free] == 0).all()
    assert (upper.kernel_array()[free] == 0).all()
    copies = sum(e["count"] for e in entries(model, "split"))
    assert copies or model.network_params() == size


def test_constant_expansion_keeps_all_and_none_adds_none():
    constant = new(expansion="constant", group_lasso=10.0, split=False)
    nothing = new(expansion=None, split=False)
    for i in (1, 2, 3):
        fit(constant, i)
        fit(nothing, i)
    assert [e["count"] for e in entries(constant, "add")] == [3] * 4
    assert not entries(nothing, "add")


def test_split_restores_the_original_and_appends_the_moved_copy():
    model = new(**STILL, split_threshold=0.5)
    fit(model, 1)
    previous = Snapshot(model.network)
    y = (X[:, 0] > 0).astype("int32")
    model.add_task("t2", model.task_spec("t1"))
    model.activate("t2")
    del y
    lower, upper = model.network.growable
    kernel = lower.kernel_array()
    kernel[:, 2] += 1.0  # drifts by sqrt(6)
    lower.kernel.assign(kernel)
    outgoing = upper.kernel_array()[2, :5].copy()
    assert model.split_drifted("t2", previous)
    copy = lower.units_at(2)[-1]
    assert ops.convert_to_numpy(lower.timestamps)[copy] == 2
    now = lower.kernel_array()
    np.testing.assert_array_equal(now[:, 2], previous.kernel(model.network, 0)[:, 2])
    np.testing.assert_array_equal(now[:, copy], kernel[:, 2])
    # older units above go on with the original, and do not hear the copy yet
    np.testing.assert_array_equal(upper.kernel_array()[2, :5], outgoing)
    assert (upper.kernel_array()[copy, :5] == 0).all()
    assert len(entries(model, "split", "t2")) == 1


def test_a_split_of_the_top_layer_keeps_what_the_new_task_computes():
    model = new(**STILL, split_threshold=0.5)
    fit(model, 1)
    previous = Snapshot(model.network)
    old = model.predict(X, task="t1")
    model.add_task("t2", model.task_spec("t1"))
    model.activate("t2")
    upper = model.network.growable[1]
    kernel = upper.kernel_array()
    kernel[:8, 1] += 1.0
    upper.kernel.assign(kernel)
    before = model.predict(X, task="t2")
    assert model.split_drifted("t2", previous)
    np.testing.assert_allclose(model.predict(X, task="t2"), before, atol=1e-5)
    np.testing.assert_allclose(model.predict(X, task="t1"), old, atol=1e-6)


def test_at_most_k_units_are_split_the_most_drifted_ones():
    model = new(growth=2, split_threshold=0.1, **STILL)
    fit(model, 1)
    previous = Snapshot(model.network)
    model.add_task("t2", model.task_spec("t1"))
    model.activate("t2")
    lower = model.network.growable[0]
    kernel = lower.kernel_array()
    kernel[0, [1, 4, 6]] += [0.2, 0.9, 0.5]
    lower.kernel.assign(kernel)
    model.split_drifted("t2", previous)
    (entry,) = entries(model, "split")
    assert entry["count"] == 2 and entry["why"]["drifted"] == 3
    copies = lower.units_at()[-2:]
    np.testing.assert_array_equal(lower.kernel_array()[:, copies], kernel[:, [4, 6]])


def test_timestamps_keep_new_units_from_old_tasks():
    results = {}
    for timestamps in (True, False):
        model = new(timestamps=timestamps)
        fit(model, 1)
        fit(model, 2)
        before = model.predict(X, task="t1")
        lower = model.network.growable[0]
        new_units = np.setdiff1d(lower.units_at(), lower.units_at(1))
        assert new_units.size
        kernel = lower.kernel_array()
        kernel[:, new_units] += 1.0
        lower.kernel.assign(kernel)
        results[timestamps] = (model.predict(X, task="t1") == before).all()
    assert results == {True: True, False: False}


def test_pruning_the_first_task_changes_no_prediction():
    model = new(l1=0.0)
    fit(model, 1, epochs=1)
    lower, upper = model.network.growable
    kernel = upper.kernel_array()
    kernel[3] = 0  # unit 3 below feeds nothing
    kernel[:, 2] = 0  # nothing feeds unit 2 above, and its bias is 0
    upper.kernel.assign(kernel)
    bias = upper.bias_array()
    bias[2] = -1.0  # relu(-1) is 0
    upper.bias.assign(bias)
    before, size = model.predict(X, task="t1"), model.count_params()
    model.prune_first_task("t1")
    assert (model.predict(X, task="t1") == before).all()
    assert lower.units_at().tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert upper.units_at().tolist() == [0, 1, 3, 4]
    assert model.count_params() < size


def test_growth_adds_up_to_the_units_there_are():
    model = new(split_threshold=1e-3)
    for i in (1, 2, 3):
        fit(model, i)
    assert entries(model, "split")
    for layer in model.network.growable:
        counted = sum(
            e["count"]
            for e in model.growth
            if e["layer"] == layer.name and e["kind"] != "select"
        )
        assert counted == layer.units_at().size


def test_switch_selective_and_scaled_thresholds():
    whole = new(selective=False)
    scaled = new(l1=1e-2, prox_scaled_by_lr=True)
    for i in (1, 2):
        fit(whole, i)
        fit(scaled, i)
    assert not entries(whole, "select") and entries(scaled, "select")
    kernel = scaled.network.growable[0].kernel_array()[:, :8]
    assert (kernel == 0).mean() < 0.5  # 1e-2 a step unscaled would leave nothing


def test_finetune_trains_all_tasks_on_the_found_structure():
    model = new()
    tasks = []
    for i in (1, 2, 3):
        fit(model, i, epochs=1)
        y = (X[:, i] * X[:, i - 1] > 0).astype("int32")
        tasks.append(kl.Task(f"t{i}", train=(X, y), test=(X, y)))
    units = [layer.units_at().tolist() for layer in model.network.growable]
    before = np.mean([model.evaluate(t)["loss"] for t in tasks])
    model.finetune(tasks, epochs=30, batch_size=16, verbose=0)
    after = np.mean([model.evaluate(t)["loss"] for t in tasks])
    assert after < before
    assert [x.units_at().tolist() for x in model.network.growable] == units
    with pytest.raises(ValueError, match="name of a learned task"):
        model.finetune([kl.Task("new", train=(X, y))])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"growth": 0}, "`growth` must be an integer of at least 1"),
        (
            {"expansion": "some"},
            "`expansion` must be one of 'dynamic', 'constant' or None",
        ),
        ({"l1": -1.0}, "`l1` must be a number of at least 0. Received: -1.0"),
        ({"drift": "much"}, "`drift` must be a number"),
        ({"head_epochs": 0}, "`head_epochs` must be"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        new(**kwargs)


def test_a_backbone_it_cannot_carry_is_refused():
    recurrent = keras.Sequential([keras.Input((4, 2)), layers.GRU(3, name="memory")])
    with pytest.raises(ValueError, match="at least one Conv2D or Dense.*memory"):
        kl.DEN(recurrent)


def test_the_size_of_storage_decides_nothing():
    small, large = new(bucket=4, loss_threshold=0.0), new(bucket=64, loss_threshold=0.0)
    for model in (small, large):
        for i in range(3):
            fit(model, i)
    assert entries(small, "add") and small.growth[-1]["why"].keys()
    counts = [[(e["kind"], e["count"]) for e in m.growth] for m in (small, large)]
    assert counts[0] == counts[1]
    for name in small.task_names:
        np.testing.assert_allclose(
            small.predict(X, task=name), large.predict(X, task=name), atol=1e-4
        )


def test_new_top_units_reach_the_head_at_once():
    model = new()
    fit(model, 0)
    model.add_task("t1", model.task_spec("t0"))
    model.activate("t1")
    rows = model.network.rows_of(2, model.add_units("t1")[-1])
    head = np.array(model.head.kernel)
    assert (head[rows] != 0).all()
    free = np.setdiff1d(np.arange(len(head)), model.head_rows())
    assert not head[free].any()
