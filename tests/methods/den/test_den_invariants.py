"""What DEN never does: move, forget, keep or count what it should not."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl
from keras_lifelong.layers.growable import GrowableBatchNormalization
from keras_lifelong.methods.den.regions import Region
from keras_lifelong.methods.den.regions import Snapshot

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)).astype("float32")
IMAGES = RNG.normal(size=(60, 4, 4, 1)).astype("float32")
LABELS = [(X[:, i] > 0).astype("int32") for i in range(6)]
STILL = {"l1": 0.0, "l2": 0.0, "group_lasso": 0.0}

pytestmark = pytest.mark.usefixtures("eager")


def dense():
    return [
        keras.Input((6,)),
        layers.Dense(7, activation="relu", name="lower"),
        layers.Dense(5, activation="relu", name="upper"),
    ]


def conv(norm=False):
    normalisation = [layers.BatchNormalization()] if norm else []
    return [
        keras.Input((4, 4, 1)),
        layers.Conv2D(3, 3, padding="same", name="lower"),
        *normalisation,
        layers.Activation("relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(4, 2, padding="same", name="middle"),
        layers.Activation("relu"),
        layers.Flatten(),
        layers.Dense(5, activation="relu", name="upper"),
    ]


def conv_top(norm=False):
    """The head reads a flattened convolution: four rows for each of its filters."""
    return conv(norm)[:4] + [layers.MaxPooling2D(2), layers.Flatten()]


def new(kind=dense, optimizer=None, **kwargs):
    kwargs = {"growth": 2, "bucket": 16, **kwargs}
    model = kl.DEN(keras.Sequential(kind()), **kwargs)
    model.compile(optimizer or keras.optimizers.Adam(0.01))
    return model


def x_of(model):
    return X if model.backbone_input_shape == (6,) else IMAGES


def fit(model, *names, **kwargs):
    kwargs = {"epochs": 1, "batch_size": 32, "verbose": 0, **kwargs}
    for name in names:
        y = LABELS["abcdef".index(name)]
        model.fit(x_of(model), y, task=name, **kwargs)


def predict(model, name):
    return model.predict(x_of(model), task=name)


def entries(model, kind, task=None):
    found = [e for e in model.growth if e["kind"] == kind]
    return [e for e in found if task in (None, e["task"])]


def units(model, stage=None):
    return [layer.units_at(stage).tolist() for layer in model.network.growable]


def arrays(model):
    """Kernels and biases of the growable layers."""
    growable = model.network.growable
    return [(x.kernel_array(), x.bias_array()) for x in growable]


def begin(model, name):
    """Adds a task as `fit` does, without learning it."""
    model.add_task(name, model.task_spec(model.task_names[0]))
    model.activate(name)


def move_units(layer, chosen, by):
    """Adds `by` to all weights into the chosen units that come from existing ones."""
    kernel, bias = layer.kernel_array(), layer.bias_array()
    fed = (kernel != 0).reshape(-1, *kernel.shape[-2:]).any(axis=(0, 2))
    kernel[..., np.flatnonzero(fed)[:, None], chosen] += by
    bias[chosen] += by
    layer.kernel.assign(kernel)
    layer.bias.assign(bias)
    return kernel, bias


class Phases(keras.callbacks.Callback):
    """Names of the phases, and kernels and biases before and after each."""

    def __init__(self):
        super().__init__()
        self.names, self.before, self.after = [], {}, {}

    def on_phase_begin(self, task, phase):
        self.names.append(phase)
        self.before[phase] = arrays(self.model)

    def on_phase_end(self, logs):
        self.after[self.names[-1]] = arrays(self.model)


# Old tasks


@pytest.mark.parametrize("kind", [dense, conv])
@pytest.mark.parametrize(("bucket", "tolerance"), [(16, 0), (3, 1e-6)])
def test_a_rate_of_zero_leaves_predictions(kind, bucket, tolerance):
    model = new(kind, keras.optimizers.SGD(0.0), bucket=bucket, **STILL)
    fit(model, "a")
    first = predict(model, "a")
    fit(model, "b")
    second = predict(model, "b")
    fit(model, "c")
    assert entries(model, "add", "b") and entries(model, "add", "c")
    np.testing.assert_allclose(predict(model, "a"), first, rtol=0, atol=tolerance)
    np.testing.assert_allclose(predict(model, "b"), second, rtol=0, atol=tolerance)
    assert not entries(model, "split")


def test_drift_of_nothing_splits_nothing_even_at_threshold_zero():
    model = new(optimizer=keras.optimizers.SGD(0.0), split_threshold=0.0, **STILL)
    fit(model, "a", "b")
    assert not entries(model, "split")


@pytest.mark.parametrize("kind", [dense, conv])
def test_old_predictions_do_not_depend_on_weights_of_new_units(kind):
    model = new(kind, expansion="constant", split_threshold=1e-4)
    fit(model, "a")
    fit(model, "b")
    assert entries(model, "split") and entries(model, "add")
    old, later = predict(model, "a"), predict(model, "b")
    network = model.network
    for index, layer in enumerate(network.growable):
        born = np.setdiff1d(layer.units_at(2), layer.units_at(1))
        kernel = layer.kernel_array()
        kernel[..., born] = 100 * RNG.normal(size=kernel[..., born].shape)
        if index:
            below = network.growable[index - 1]
            below = np.setdiff1d(below.units_at(2), below.units_at(1))
            rows = network.rows_of(index, below)
            kernel[..., rows, :] = 100 * RNG.normal(size=kernel[..., rows, :].shape)
        layer.kernel.assign(kernel)
    assert (predict(model, "a") == old).all()
    assert np.abs(predict(model, "b") - later).max() > 0.01


@pytest.mark.parametrize("bucket", [4, 64])
def test_heads_hold_nothing_for_units_born_later(bucket):
    model = new(bucket=bucket, split_threshold=1e-4)
    fit(model, "a", "b", "c")
    top = model.network.growable[-1]
    for stage, name in [(1, "a"), (2, "b")]:
        later = np.setdiff1d(top.units_at(), top.units_at(stage))
        assert later.size
        head = model.fitted_head(model.memory["head", "own", name, "kernel"])
        assert (head[later] == 0).all()
        assert (head[top.units_at(stage)] != 0).any()


def test_without_timestamps_old_tasks_change_and_nothing_else_does():
    stamped, plain = new(), new(timestamps=False)
    for model in (stamped, plain):
        fit(model, "a", "b", epochs=4)
    for ours, theirs in zip(arrays(stamped), arrays(plain), strict=True):
        assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))
    assert (predict(stamped, "b") == predict(plain, "b")).all()
    assert (predict(stamped, "a") != predict(plain, "a")).any()


# The first task


@pytest.mark.parametrize("prune", ["relu", "sigmoid"])
def test_pruning_is_exact_whatever_follows_the_layer(prune):
    """A unit with nothing coming in still speaks if its activation of 0 is not 0."""

    def kind():
        hidden = [layers.Dense(8, name="lower"), layers.Activation(prune)]
        return [keras.Input((6,)), *hidden, layers.Dense(5, "relu", name="upper")]

    model = new(kind, l1=0.0, prune_first=False)
    fit(model, "a")
    lower, upper = model.network.growable
    kernel, bias = lower.kernel_array(), lower.bias_array()
    kernel[:, [2, 4]], bias[:] = 0, 0  # two hear nothing
    bias[4] = 0.5  # of which one says 0.5, whatever the activation
    lower.kernel.assign(kernel)
    lower.bias.assign(bias)
    upper.clear_inputs([6])  # and one is not heard
    before = predict(model, "a")
    model = model.with_options(prune_first=True)
    model.prune_first_task("a")
    left = [0, 1, 3, 4, 5, 7] if prune == "relu" else [0, 1, 2, 3, 4, 5, 7]
    assert units(model) == [left, [0, 1, 2, 3, 4]]
    np.testing.assert_allclose(predict(model, "a"), before, atol=1e-6)


def test_filters_are_zeroed_as_a_whole():
    model = new(conv, l1=0.05, prune_first=False)
    fit(model, "a", epochs=10)
    zeros = 0
    for layer in model.network.growable[:2]:
        kernel = layer.kernel_array()[..., layer.units_at()]
        kernel = kernel[:, :, (kernel != 0).any(axis=(0, 1, 3))]
        dead = (kernel == 0).all(axis=(0, 1, 2))
        assert (kernel[..., ~dead] != 0).all()
        zeros += dead.sum()
    assert zeros
    weights = new(conv, l1=0.0, prune_first=False)
    fit(weights, "a")
    for i, layer in enumerate(weights.network.growable):
        kernel = layer.kernel_array()[..., weights.network.input_rows(i), :]
        assert (kernel[..., layer.units_at()] != 0).all()


def test_learning_a_task_again_adds_nothing_and_logs_nothing_twice():
    model = new(loss_threshold=0.0, split_threshold=0.0)
    fit(model, "a", "a")
    assert len(entries(model, "initial")) == 2
    fit(model, "b")
    growth = [e for e in model.growth if e["kind"] != "select"]
    had = units(model)
    fit(model, "b", "a")
    assert units(model) == had
    assert [e for e in model.growth if e["kind"] != "select"] == growth


# What each phase may move


def test_selective_retraining_moves_the_selected_region_only():
    """Under weight decay and momentum too, which move even what has no gradient."""
    model = new(optimizer=keras.optimizers.AdamW(0.01, weight_decay=0.5))
    fit(model, "a")
    chosen = (np.array([0, 3]), np.array([1, 2]))
    model.select_units = lambda task: Region(chosen)
    phases = Phases()
    fit(model, "b", callbacks=[phases])
    rows = [np.arange(6), chosen[0]]
    before = phases.before["selective retraining"]
    after = phases.after["selective retraining"]
    for i in range(2):
        inside = np.zeros(before[i][0].shape, bool)
        inside[np.ix_(rows[i], chosen[i])] = True
        assert (before[i][0] != after[i][0])[inside].all()
        assert (before[i][0] == after[i][0])[~inside].all()
        moved = np.flatnonzero(before[i][1] != after[i][1])
        assert moved.size and set(moved) <= set(chosen[i])


@pytest.mark.parametrize("kind", [dense, conv])
def test_expansion_moves_no_old_weight(kind):
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
    model = new(kind, optimizer, expansion="constant")
    fit(model, "a")
    old_rows = [model.network.input_rows(i) for i in range(len(units(model)))]
    phases = Phases()
    fit(model, "b", callbacks=[phases])
    begun, ended = phases.before["expansion"], phases.after["expansion"]
    for i, layer in enumerate(model.network.growable):
        (kernel, bias), (later, later_bias) = begun[i], ended[i]
        old = layer.units_at(1)
        block = (..., old_rows[i][:, None], old)
        assert (kernel[block] == later[block]).all()
        assert (bias[old] == later_bias[old]).all()
        assert (kernel != later).any()


def test_phases_of_each_switch():
    def learned(**kwargs):
        model, phases = new(**kwargs), Phases()
        fit(model, "a")
        fit(model, "b", callbacks=[phases])
        return model, phases.names

    head, select, grow = "sparse head", "selective retraining", "expansion"
    model, names = learned()
    assert names == [head, select, grow, "final training"]
    assert [len(entries(model, k)) for k in ("select", "add")] == [2, 2]
    model, names = learned(selective=False)
    assert names == ["retraining", grow, "final training"]
    assert not entries(model, "select")
    model, names = learned(split=False, split_threshold=0.0)
    assert names == [head, select, grow]
    assert not entries(model, "split")
    model, names = learned(expansion=None, loss_threshold=0.0, split_threshold=1e9)
    assert names == [head, select]
    assert units(model) == [list(range(7)), list(range(5))]
    model, names = learned(expansion="constant", loss_threshold=1e9, group_lasso=99.0)
    assert [e["count"] for e in entries(model, "add")] == [2, 2]
    # splitting does not wait for expansion, as in the paper
    model, names = learned(loss_threshold=1e9, split_threshold=0.0)
    assert names == [head, select, "final training"]
    assert [e["count"] for e in entries(model, "split")] == [2, 2]
    fit(model, "c")
    assert np.isfinite(predict(model, "c")).all()


def test_penalty_and_proximal_step_are_the_formulas():
    model = new(l1=0.2)
    w = np.array([[0.5, -0.1], [0.3, 2.0]], "float32")
    mask = np.array([[1, 1], [1, 0]], "float32")
    old = np.array([[1, 0], [0, 0]], "float32")
    previous = np.full((2, 2), 0.25, "float32")
    terms = {
        "previous": previous,
        "old": old,
        "l1": np.float32(0.2),
        "l2": np.float32(0.1),
        "group": np.float32(0),
    }
    arguments = {"masks": [mask], "terms": [terms], "drift": np.float32(4)}
    cost = 0.05 * (0.25 + 0.01 + 0.09) + 2.0 * 0.0625
    assert float(model.sparse.penalty([w], arguments)) == pytest.approx(cost, rel=1e-6)

    before = np.full((2, 2), 7, "float32")

    def step(**changes):
        given = {**arguments, "terms": [{**terms, **changes}]}
        weights = [ops.convert_to_tensor(w)]
        out = model.sparse.proximal_step([before], weights, given, 0.5)
        return np.array(out[0])

    # shared weights keep their value, fresh ones shrink, the others are put back
    np.testing.assert_allclose(step(), [[0.5, 0], [0.1, 7]], atol=1e-6)
    model = model.with_options(prox_scaled_by_lr=True)
    np.testing.assert_allclose(step(), [[0.5, 0], [0.2, 7]], atol=1e-6)
    shrunk = step(l1=np.float32(0), group=np.float32(0.3), old=0 * old)
    norm = np.sqrt(0.5**2 + 0.3**2)
    factor = 1 - 0.15 / norm
    np.testing.assert_allclose(shrunk[:, 0], w[:, 0] * factor, atol=1e-6)
    np.testing.assert_allclose(shrunk[0, 1], 0, atol=1e-6)


# Selection


def test_selection_through_flatten_and_several_layers():
    model = new(conv)
    begin_first(model)
    lower, middle, upper = model.network.growable
    for layer in (lower, middle, upper):
        layer.kernel.assign(np.zeros(layer.kernel.shape, "float32"))
    kernel = np.zeros(upper.kernel.shape, "float32")
    rows = model.network.rows_of(2, [0, 3]).reshape(4, 2)
    kernel[rows[3, 0], 1] = 1e-8  # the last position of filter 0, into unit 1
    kernel[rows[0, 1], 2] = -1  # filter 3, into unit 2, which the head does not hear
    upper.kernel.assign(kernel)
    kernel = np.zeros(middle.kernel.shape, "float32")
    kernel[1, 0, 2, 0] = 1
    kernel[1, 0, 1, 3] = 1
    middle.kernel.assign(kernel)
    head = np.zeros(model.head.kernel.shape, "float32")
    head[1, 1] = head[4, 0] = 0.5  # unit 4 hears nobody
    model.head.kernel.assign(head)
    selected = model.select_units("a").units
    assert [u.tolist() for u in selected] == [[2], [0], [1, 4]]
    assert [e["count"] for e in entries(model, "select")] == [1, 1, 2]


def test_units_born_later_are_not_selected_when_a_task_is_learned_again():
    model = new(expansion="constant")
    fit(model, "a", "b")
    model.activate("a")
    model.head.kernel.assign(np.ones(model.head.kernel.shape, "float32"))
    selected = model.select_units("a").units
    assert [u.tolist() for u in selected] == units(model, 1)


def begin_first(model):
    model.add_task("a", kl.TaskSpec(2))
    model.activate("a")


# Pruning


def test_pruning_goes_from_the_top_down_and_spares_old_units():
    model = new(growth=3)
    fit(model, "a")
    begin(model, "b")
    lower, upper = model.network.growable
    kernel = lower.kernel_array()
    kernel[:, 0] = 0  # an old unit that hears nothing
    lower.kernel.assign(kernel)
    added = model.add_units("b")
    assert [a.tolist() for a in added] == [[7, 8, 9], [5, 6, 7]]
    head = np.ones(model.head.kernel.shape, "float32")
    head[5] = 0  # upper unit 5 is not heard
    model.head.kernel.assign(head)
    kernel = lower.kernel_array()
    kernel[:, 7] = 0  # lower unit 7 hears nothing
    lower.kernel.assign(kernel)
    kernel = upper.kernel_array()
    kernel[8] = 0
    kernel[8, 5] = 1  # lower unit 8 is heard by upper unit 5 alone
    upper.kernel.assign(kernel)
    removed = model.remove_units(lambda i: model.useless(i, added[i]))
    assert [r.tolist() for r in removed] == [[7, 8], [5]]
    assert units(model) == [[0, 1, 2, 3, 4, 5, 6, 9], [0, 1, 2, 3, 4, 6, 7]]
    assert (lower.kernel_array()[:, [7, 8]] == 0).all()
    assert (upper.kernel_array()[[7, 8]] == 0).all()
    assert (upper.kernel_array()[:, 5] == 0).all()
    assert (model.memory["head", "own", "b", "kernel"][5] == 0).all()
    assert (model.memory["head", "own", "b", "kernel"][6] == 1).all()


# Splitting


@pytest.mark.parametrize("bucket", [16, 4])
def test_split_units_of_both_layers(bucket):
    model = new(bucket=bucket, split_threshold=0.5)
    fit(model, "a")
    old = predict(model, "a")
    begin(model, "b")
    previous, before = Snapshot(model.network), arrays(model)
    lower, upper = model.network.growable
    head = ops.convert_to_numpy(model.head.kernel).copy()
    low, low_bias = move_units(lower, [1, 3], 1.0)
    move_units(lower, [2], 0.01)
    up, up_bias = move_units(upper, [0, 4], -1.0)
    assert model.split_drifted("b", previous)
    assert units(model) == [list(range(9)), list(range(7))]
    assert units(model, 1) == [list(range(7)), list(range(5))]

    kernel, bias = lower.kernel_array(), lower.bias_array()
    np.testing.assert_array_equal(kernel[:, [1, 3]], before[0][0][:, [1, 3]])
    np.testing.assert_array_equal(bias[[1, 3]], before[0][1][[1, 3]])
    np.testing.assert_array_equal(kernel[:, [7, 8]], low[:, [1, 3]])
    np.testing.assert_array_equal(bias[[7, 8]], low_bias[[1, 3]])
    # one that drifted little stays one unit, and moved
    np.testing.assert_allclose(kernel[:, 2], before[0][0][:, 2] + 0.01, atol=1e-6)

    kernel = upper.kernel_array()
    np.testing.assert_array_equal(kernel[:7, [0, 4]], before[1][0][:7, [0, 4]])
    np.testing.assert_array_equal(kernel[[7, 8]][:, [5, 6]], up[[1, 3]][:, [0, 4]])
    np.testing.assert_array_equal(kernel[[0, 2, 4]][:, [5]], up[[0, 2, 4]][:, [0]])
    assert (kernel[[1, 3]][:, [5, 6]] == 0).all()  # the copies hear the copies
    assert (kernel[[7, 8]][:, :5] == 0).all()  # and older units the originals
    np.testing.assert_array_equal(upper.bias_array()[[5, 6]], up_bias[[0, 4]])
    np.testing.assert_array_equal(model.head.kernel[5:7], head[[0, 4]])
    assert not ops.convert_to_numpy(model.head.kernel)[[0, 4]].any()
    first, second = entries(model, "split", "b")
    assert (first["count"], second["count"]) == (2, 2)
    assert first["why"]["drifted"] == 2

    # undo the little drift: the first task is then as it was
    kernel, bias = lower.kernel_array(), lower.bias_array()
    kernel[:, 2], bias[2] = before[0][0][:, 2], before[0][1][2]
    lower.kernel.assign(kernel)
    lower.bias.assign(bias)
    np.testing.assert_allclose(predict(model, "a"), old, atol=1e-6)


@pytest.mark.parametrize("norm", [False, True])
def test_split_filters_keep_what_the_new_task_computes(norm):
    """Also where a batch normalisation or a Flatten reads the split filters."""
    model = new(lambda: conv_top(norm), split_threshold=0.5, bucket=4)
    fit(model, "a")
    old = predict(model, "a")
    begin(model, "b")
    for layer in model.network.layers_in_order:
        if isinstance(layer, GrowableBatchNormalization):
            for v in layer.variables:
                v.assign(RNG.uniform(0.5, 2, size=v.shape).astype("float32"))
    previous = Snapshot(model.network)
    move_units(model.network.growable[0], [0, 2], 1.0)
    now = predict(model, "b")
    assert model.split_drifted("b", previous)
    assert units(model) == [[0, 1, 2, 3, 4]]
    np.testing.assert_allclose(predict(model, "b"), now, atol=1e-6)
    np.testing.assert_allclose(predict(model, "a"), old, atol=1e-6)


def shared_task(i, name):
    spec = kl.TaskSpec(2, input_shape=(6,), head="shared")
    return kl.Task(name, spec, train=(X, LABELS[i]), validation_split=0)


@pytest.mark.parametrize("kind", [dense, conv_top])
def test_a_split_under_a_shared_head_takes_nothing_from_old_tasks(kind):
    """The original keeps its row of the head, and the new task hears the copy alone."""
    model = new(kind, split_threshold=0.5, bucket=4)
    x = X if kind is dense else IMAGES
    spec = kl.TaskSpec(2, input_shape=x.shape[1:], head="shared")
    model.fit(kl.Task("a", spec, train=(x, LABELS[0])), epochs=2, verbose=0)
    old = predict(model, "a")
    begin(model, "b")
    top = model.network.growable[-1]
    previous, head = Snapshot(model.network), np.array(model.head.kernel)
    move_units(top, [0, 2], 1.0)
    before = predict(model, "b")
    assert model.split_drifted("b", previous)
    np.testing.assert_array_equal(predict(model, "a"), old)
    np.testing.assert_allclose(predict(model, "b"), before, atol=1e-6)

    count = top.units_at(1).size
    assert top.units_at(1).tolist() == list(range(count))
    assert top.units_at(2).tolist() == [1, *range(3, count + 2)]
    rows = model.network.rows_of(len(model.network.growable), [0, 2])
    copies = model.network.rows_of(len(model.network.growable), [count, count + 1])
    was = Region.everything(model.network, 1).head_rows(model.network)
    now = np.array(model.head.kernel)
    np.testing.assert_array_equal(now[was], head[was])
    np.testing.assert_array_equal(now[copies], now[rows])


def test_what_a_split_leaves_to_old_tasks_is_not_trained_by_new_ones():
    model = new(split_threshold=0.0, growth=9, expansion=None)
    model.fit(shared_task(0, "a"), epochs=2, verbose=0)
    phases = Phases()
    model.fit(shared_task(1, "b"), epochs=2, verbose=0, callbacks=[phases])
    assert "final training" in phases.names
    top = model.network.growable[-1]
    alone = np.setdiff1d(top.units_at(1), top.units_at(2))
    assert alone.size
    before, after = (p["final training"][-1] for p in (phases.before, phases.after))
    np.testing.assert_array_equal(before[0][:, alone], after[0][:, alone])
    assert not np.array_equal(before[0], after[0])
    plain = [model.task_model(name).predict(X, verbose=0) for name in "ab"]
    for name, found in zip("ab", plain, strict=True):
        np.testing.assert_allclose(found, predict(model, name), atol=1e-6)


def test_a_unit_retired_for_a_removed_task_comes_back():
    model = new(split_threshold=0.0, growth=9, expansion=None)
    model.fit(shared_task(0, "a"), epochs=2, verbose=0)
    had = units(model)
    model.fit(shared_task(1, "b"), epochs=2, verbose=0)
    old = predict(model, "a")
    assert units(model, 2)[-1] != had[-1]
    model.remove_task("b")
    assert units(model) == had and units(model, 2) == had
    np.testing.assert_array_equal(predict(model, "a"), old)


def test_without_timestamps_a_shared_head_is_refused_before_training():
    model = new(timestamps=False)
    with pytest.raises(ValueError, match="'a' shares its head, and without timestamps"):
        model.fit(shared_task(0, "a"), verbose=0)
    assert model.task_names == []
    model = new(timestamps=False, split=False)
    model.fit(shared_task(0, "a"), epochs=1, verbose=0)


def test_too_large_an_l1_leaves_a_unit_in_every_layer():
    model = new(l1=1.0)
    fit(model, "a")
    assert units(model) == [[0], [0]]
    found = model.task_model("a").predict(X, verbose=0)
    np.testing.assert_allclose(found, predict(model, "a"), atol=1e-6)
    assert [e["count"] for e in entries(model, "initial")] == [1, 1]


# Counting


@pytest.mark.parametrize("kind", [dense, conv, lambda: conv(True)])
def test_growth_and_parameters_add_up(kind):
    model = new(kind, split_threshold=1e-3, group_lasso=1e-2)
    fit(model, "a", "b", "c")
    network = model.network
    assert entries(model, "split") and entries(model, "add")
    for layer in network.growable:
        for stage, names in enumerate([["a"], ["a", "b"], ["a", "b", "c"]], 1):
            counted = sum(
                e["count"]
                for e in model.growth
                if e["layer"] == layer.name
                and e["kind"] in ("initial", "add", "split")
                and e["task"] in names
            )
            assert counted == layer.units_at(stage).size

    positions = network.positions(len(network.growable))
    norms = [
        x for x in network.layers_in_order if isinstance(x, GrowableBatchNormalization)
    ]
    total = 0
    for stage in (1, 2, 3):
        counts = [len(u) for u in units(model, stage)]
        total += (positions * counts[-1] + 1) * 2  # the head at its width
        total += 2 * counts[0] * len(norms)
    plain = model.task_model("c")
    own = sum(
        x.count_params() for x in plain.layers if not hasattr(x, "moving_variance")
    )
    assert model.count_params() == own - (positions * counts[-1] + 1) * 2 + total
    assert model.count_params() > model.base_params()


# Fine-tuning


def test_finetune_keeps_old_tasks_to_the_units_of_their_time():
    model = new(expansion="constant")
    fit(model, "a", "b")
    had, growth, stamps = units(model), list(model.growth), units(model, 1)
    kernels = arrays(model)
    tasks = [kl.Task(n, train=(X, LABELS["ab".index(n)])) for n in "ab"]
    model.finetune(tasks, epochs=2, batch_size=16, verbose=0)
    assert (units(model), model.growth, units(model, 1)) == (had, growth, stamps)
    assert all(
        (a[0] != b[0]).any() for a, b in zip(kernels, arrays(model), strict=True)
    )
    before = predict(model, "a")
    move_units(model.network.growable[0], [7, 8], 5.0)
    assert (predict(model, "a") == before).all()


# Refusals


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"bucket": 0}, "`bucket` must be an integer of at least 1"),
        ({"growth": 2.0}, "`growth` must be an integer"),
        ({"l2": float("nan")}, "`l2` must be a number of at least 0. Received: nan"),
        ({"loss_threshold": None}, "`loss_threshold` must be a number"),
        ({"split_threshold": -1}, "`split_threshold` must be a number"),
        ({"head_l1": -1}, "`head_l1` must be a number"),
        ({"group_lasso": "1"}, "`group_lasso` must be a number"),
        ({"head_epochs": 0}, "`head_epochs` must be an integer of at least 1"),
        ({"head_epochs": "3"}, "`head_epochs` must be an integer of at least 1"),
        (
            {"expansion": True},
            "`expansion` must be one of 'dynamic', 'constant' or None",
        ),
    ],
)
def test_bad_arguments_of_den(kwargs, message):
    with pytest.raises(ValueError, match=message):
        new(**kwargs)


@pytest.mark.parametrize(
    ("shape", "hidden", "reason"),
    [
        (
            (6,),
            [layers.Dense(3), layers.UnitNormalization(name="odd")],
            "growing networks are made of",
        ),
        ((6,), [layers.Dense(3, activation="softmax", name="odd")], "softmax mixes"),
        ((6,), [layers.Dense(3), layers.Softmax(name="odd")], "softmax mixes"),
        (
            (6,),
            [layers.Dense(3, kernel_regularizer="l2", name="odd")],
            "its kernel_regularizer would act",
        ),
        (
            (4, 4, 2),
            [layers.Conv2D(4, 3, groups=2, name="odd"), layers.Flatten()],
            "only ungrouped",
        ),
        (
            (6,),
            [layers.Dense(4), layers.Reshape((2, 2), name="odd"), layers.Flatten()],
            "takes the channels of a place apart",
        ),
    ],
)
def test_a_layer_that_cannot_grow_is_named(shape, hidden, reason):
    backbone = keras.Sequential([keras.Input(shape), *hidden])
    with pytest.raises(ValueError, match=f"DEN cannot carry the layer 'odd'.*{reason}"):
        kl.DEN(backbone)
