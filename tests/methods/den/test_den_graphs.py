"""DEN on graphs: groups grow as one, and earlier tasks do not notice."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl
from keras_lifelong.methods.den.regions import Region
from keras_lifelong.methods.den.regions import Snapshot

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(40, 6, 6, 2)).astype("float32")
SERIES = RNG.normal(size=(40, 8, 2)).astype("float32")
ROWS = RNG.normal(size=(40, 6)).astype("float32")
STILL = {"l1": 0.0, "l2": 0.0, "group_lasso": 0.0}

pytestmark = pytest.mark.usefixtures("eager_module")


def convolution(name, filters=4, size=3, **kwargs):
    return layers.Conv2D(
        filters, size, padding="same", use_bias=False, name=name, **kwargs
    )


def normalised(x, name):
    return layers.BatchNormalization(name=name, momentum=0.8)(x)


def residual():
    """Two stages, the second behind a projection; a nested model is the first block."""
    x = keras.Input((6, 6, 2))
    stem = layers.ReLU()(normalised(convolution("stem")(x), "stem_bn"))
    inside = keras.Input((6, 6, 4))
    y = layers.ReLU()(normalised(convolution("inner", 5)(inside), "inner_bn"))
    y = normalised(convolution("outer")(y), "outer_bn")
    block = keras.Model(inside, layers.ReLU()(inside + y), name="block")
    y = first = block(stem)
    y = layers.ReLU()(normalised(convolution("down", 6, strides=2)(y), "down_bn"))
    y = normalised(convolution("up", 6)(y), "up_bn")
    short = normalised(convolution("projection", 6, 1, strides=2)(first), "short_bn")
    y = layers.ReLU()(layers.Add(name="sum")([short, y]))
    return keras.Model(x, layers.GlobalAveragePooling2D()(y))


def mobile():
    x = keras.Input((6, 6, 2))
    stem = normalised(convolution("stem", strides=2)(x), "stem_bn")
    y = layers.ReLU(6.0)(normalised(convolution("expand", 8, 1)(stem), "expand_bn"))
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.ReLU(6.0)(normalised(y, "depthwise_bn"))
    y = normalised(convolution("project", 4, 1)(y), "project_bn")
    y = layers.Add(name="sum")([stem, y])
    y = layers.SeparableConv2D(5, 3, activation="relu", name="separable")(y)
    return keras.Model(x, layers.Flatten()(y))


def branches():
    """A layer that is called twice, and squeeze and excitation without places."""
    x = keras.Input((6,))
    shared = layers.Dense(4, "relu", name="shared")
    a, b = (layers.Dense(5, "relu", name=name)(x) for name in ("left", "right"))
    y = layers.Concatenate(name="both")([shared(a), x, shared(b), a])
    y = layers.Dense(7, "tanh", name="top")(y)
    gate = layers.Dense(7, "sigmoid", name="gate")(layers.Dense(3, name="squeeze")(y))
    y = layers.Multiply(name="scaled")([y, gate])
    return keras.Model(x, layers.Concatenate()([y, a]))


def series():
    x = keras.Input((8, 2))
    y = layers.Conv1D(4, 3, padding="causal", name="conv")(x)
    y = layers.Activation("swish")(layers.LayerNormalization(name="norm")(y))
    y = layers.Conv1D(6, 3, strides=2, padding="same", name="wide")(y)
    y = layers.GroupNormalization(2, name="groups")(y)
    y = layers.PReLU(shared_axes=[1], name="slopes")(y)
    y = layers.MaxPooling1D(2)(y)
    return keras.Model(x, layers.Dense(5, "relu", name="top")(layers.Flatten()(y)))


NETWORKS = [residual, mobile, branches, series]
IDS = [network.__name__ for network in NETWORKS]


def x_of(model):
    return {(6, 6, 2): IMAGES, (8, 2): SERIES, (6,): ROWS}[model.backbone_input_shape]


def new(network, **kwargs):
    kwargs = {"growth": 2, "bucket": 16, "expansion": "constant", **kwargs}
    model = kl.DEN(network(), **kwargs)
    model.compile(keras.optimizers.Adam(0.01))
    return model


def fit(model, name, **kwargs):
    x = x_of(model)
    y = (x.reshape(40, -1)[:, "abcd".index(name)] > 0).astype("int32")
    kwargs = {"epochs": 1, "batch_size": 40, "verbose": 0, **kwargs}
    model.fit(x, y, task=name, **kwargs)


def predict(model, name):
    return model.predict(x_of(model), task=name)


def predictions(model):
    return {name: predict(model, name) for name in model.task_names}


def units(model, stage=None):
    return [group.units_at(stage).tolist() for group in model.network.groups]


def still(network, **kwargs):
    """Three tasks; the first at a rate, the others at none, so that they but grow."""
    model = new(network, **STILL, **kwargs)
    fit(model, "a")
    model.compile(keras.optimizers.SGD(0.0))
    found = []
    for name in "abc":
        if name != "a":
            fit(model, name)
        found.append(predict(model, name))
    return model, found


@pytest.fixture(scope="module", params=NETWORKS, ids=IDS)
def learned(request):
    """Three tasks, with units added and split, and storage made anew."""
    model = new(request.param, split_threshold=1e-4, bucket=4)
    for name in "abc":
        fit(model, name)
    return model


def test_the_groups_of_the_networks():
    found = [
        {frozenset(group.paths) for group in new(network).network.groups}
        for network in NETWORKS
    ]
    expected = [
        ["stem block/outer", "block/inner", "down", "up projection"],
        ["stem project separable/depthwise", "expand depthwise", "separable"],
        ["left right", "shared", "top gate", "squeeze"],
        ["conv", "wide", "top"],
    ]
    assert found == [{frozenset(g.split()) for g in groups} for groups in expected]


@pytest.mark.parametrize(
    ("network", "bucket"), [*((n, 16) for n in NETWORKS), (mobile, 3), (branches, 3)]
)
def test_growth_leaves_earlier_tasks_as_they_were(network, bucket):
    """To the last bit; where storage is made anew, but for the order of sums."""
    model, found = still(network, bucket=bucket)
    first = [len(u) for u in units(model, 1)]
    assert [len(u) for u in units(model)] == [n + 4 for n in first]
    for group in model.network.groups:  # a group's layers agree
        for layer in group.members:
            assert layer.units_at().tolist() == group.units_at().tolist()
            assert layer.capacity == group.capacity
    tolerance = 0 if bucket == 16 else 1e-6
    for name, then in zip("abc", found, strict=True):
        np.testing.assert_allclose(predict(model, name), then, rtol=0, atol=tolerance)
        assert np.isfinite(then).all()
    if bucket == 16:
        earlier_tasks_do_not_depend_on_later_units(model)


def earlier_tasks_do_not_depend_on_later_units(model):
    """Whatever these are, infinite too: what does not exist is not selected."""
    old, late = predict(model, "a"), predict(model, "c")
    net, everything = model.network, Region.everything(model.network)
    new_weights = everything.without(Region.everything(net, 1)).masks(net)
    for value in (100.0, np.inf):
        for v in net.trainable_variables:
            if id(v) in new_weights:
                mask = np.broadcast_to(new_weights[id(v)], v.shape) > 0
                born = mask.reshape(-1, mask.shape[-1]).all(0)
                kernel = ops.convert_to_numpy(v).copy()
                kernel[..., born] = value
                v.assign(kernel)
        np.testing.assert_array_equal(predict(model, "a"), old)
        assert not np.array_equal(predict(model, "c"), late)


def test_a_task_as_a_plain_model(learned):
    """It is of Keras' own layers, of just the units that the task has."""
    for stage, name in enumerate("abc", 1):
        plain = learned.task_model(name)
        found = plain.predict(x_of(learned), verbose=0)
        np.testing.assert_allclose(found, predict(learned, name), atol=1e-6)
        flat = {layer.name: layer for layer in plain._flatten_layers()}
        for group in learned.network.groups:
            for path, layer in zip(group.paths, group.members, strict=False):
                kernel = flat[path.replace("/", "_")].kernel
                assert kernel.shape[-1] == layer.units_at(stage).size
        assert all(type(x).__module__.startswith("keras.") for x in flat.values())


def test_saved_loaded_and_a_task_removed(learned, tmp_path):
    kinds = {entry["kind"] for entry in learned.growth}
    assert {"initial", "select", "add", "split"} <= kinds
    before = predictions(learned)
    learned.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    for name, found in predictions(model).items():
        np.testing.assert_array_equal(found, before[name])
    assert model.count_params() == learned.count_params()
    removal = model.remove_task("c")
    assert removal.parameters > 0
    assert units(model) == units(model, 2) and units(model, 1) != units(model, 2)
    for name in "ab":
        np.testing.assert_array_equal(predict(model, name), before[name])
    model.compile(keras.optimizers.SGD(0.0))
    model = model.with_options(split=False)
    fit(model, "d")  # in the places of the units that were freed
    for name in "ab":
        np.testing.assert_allclose(predict(model, name), before[name], atol=1e-3)
    assert np.isfinite(predict(model, "d")).all()


@pytest.mark.parametrize("network", NETWORKS, ids=IDS)
def test_given_weights_are_those_of_the_first_units(network):
    plain = network()
    for v in plain.variables:
        v.assign(RNG.uniform(0.2, 1.0, size=v.shape) * RNG.choice([1, -1]))
        if "variance" in v.name:
            v.assign(RNG.uniform(0.5, 1.0, size=v.shape))
    model = kl.DEN(plain, pretrained=True, bucket=4)
    model.add_task("a", kl.TaskSpec(2))
    x = x_of(model)
    found = ops.convert_to_numpy(model.network(x, stage=1))
    rows = model.network.input_rows(len(model.network.growable))
    expected = plain.predict(x, verbose=0)
    np.testing.assert_allclose(found[:, rows], expected, rtol=1e-4, atol=1e-5)
    assert not np.delete(found, rows, axis=1).any()


def test_parameters_of_the_mobile_network_by_hand():
    model = new(mobile, split=False)
    fit(model, "a")
    stem = 9 * 2 * 4 + 2 * 4
    expand = 4 * 8 + 2 * 8
    depthwise = (9 + 1) * 8 + 2 * 8
    project = 8 * 4 + 2 * 4
    separable = 9 * 4 + 4 * 5 + 5
    base = stem + expand + depthwise + project + separable
    assert model.count_params() == model.base_params() == base + (5 + 1) * 2
    fit(model, "b")  # two units more in each group of one width
    stem = 9 * 2 * 6
    expand = 6 * 10
    depthwise = (9 + 1) * 10
    project = 10 * 6
    separable = 9 * 6 + 6 * 7 + 7
    shared = stem + expand + depthwise + project + separable
    norms = [2 * (4 + 8 + 8 + 4), 2 * (6 + 10 + 10 + 6)]
    heads = [(5 + 1) * 2, (7 + 1) * 2]
    assert model.count_params() == shared + sum(norms) + sum(heads)


def begin(model, name):
    model.add_task(name, model.task_spec("a"))
    model.activate(name)


def move(layer, chosen, by):
    kernel = ops.convert_to_numpy(layer.kernel).copy()
    kernel[..., chosen] += by * (kernel[..., chosen] != 0)
    layer.kernel.assign(kernel)


def test_a_unit_of_a_group_is_split_in_all_its_layers():
    model = new(mobile, split_threshold=0.5)
    fit(model, "a")
    old = predict(model, "a")
    begin(model, "b")
    net = model.network
    previous, now = Snapshot(net), {}
    by_path = {step.path: step.layer for step in net.steps}
    move(by_path["depthwise"], [3], 0.2)  # 0.6 over its nine weights
    move(by_path["stem"], [1], 0.11)  # 0.47 over its 18, and with `project`'s 8: 0.56
    move(by_path["project"], [1], 0.11)
    now["b"] = predict(model, "b")
    assert model.split_drifted("b", previous)
    assert units(model) == [[0, 1, 2, 3, 4], list(range(9)), [0, 1, 2, 3, 4]]
    np.testing.assert_array_equal(predict(model, "a"), old)
    for path, unit, copy in [("depthwise", 3, 8), ("stem", 1, 4), ("project", 1, 4)]:
        kernel = ops.convert_to_numpy(by_path[path].kernel)
        assert (kernel[..., copy] != kernel[..., unit]).any()
    entries = [e for e in model.growth if e["kind"] == "split"]
    assert [(e["layer"], e["count"]) for e in entries] == [("stem", 1), ("expand", 1)]
    assert entries[1]["why"]["members"] == ["expand", "depthwise"]


def test_a_split_under_a_shared_head_leaves_the_new_task_what_it_computes():
    """Older units of the new task hear the copy, as the original is not there."""
    model = new(residual, split_threshold=0.3)
    spec = kl.TaskSpec(2, input_shape=(6, 6, 2), head="shared")
    y = np.arange(40) % 2
    model.fit(kl.Task("a", spec, train=(IMAGES, y)), epochs=1, verbose=0)
    old = predict(model, "a")
    begin(model, "b")
    previous = Snapshot(model.network)
    move(model.network.growable[-1], [0, 2], 0.5)
    before = predict(model, "b")
    assert model.split_drifted("b", previous)
    np.testing.assert_array_equal(predict(model, "a"), old)
    np.testing.assert_allclose(predict(model, "b"), before, atol=1e-6)


def test_selection_follows_the_graph_to_a_fixed_point():
    model = new(residual)
    model.add_task("a", kl.TaskSpec(2))
    model.activate("a")
    by_path = {step.path: step.layer for step in model.network.steps}
    for layer in model.network.growable:
        layer.kernel.assign(np.zeros(layer.kernel.shape, "float32"))

    def connect(path, below, unit):
        kernel = by_path[path].kernel_array()
        kernel[0, 0, below, unit] = 1
        by_path[path].kernel.assign(kernel)

    head = np.zeros(model.head.kernel.shape, "float32")
    head[3, 0] = 1
    model.head.kernel.assign(head)
    connect("projection", 2, 3)  # of the first stage, unit 2
    connect("up", 5, 3)  # and through the block, unit 5 of `down`
    connect("down", 0, 5)  # which hears unit 0 of the first stage
    connect("down", 1, 4)  # nobody hears this one
    connect("block/outer", 4, 0)
    connect("block/inner", 3, 4)  # the first stage feeds itself
    selected = [u.tolist() for u in model.select_units("a").units]
    assert selected == [[0, 2, 3], [4], [5], [3]]


def test_group_lasso_is_of_all_layers_of_a_group():
    model = new(residual)
    fit(model, "a")
    phase = model.sparse  # μ and γ, on all kernels of one unit together
    variables = model.network.trainable_variables
    ties = phase.ties()
    tied = [i for i, tie in enumerate(ties) if tie == 0]
    assert [variables[i].shape for i in tied] == [(3, 3, 2, 16), (3, 3, 16, 16)]
    weights = [np.zeros(v.shape, "float32") for v in variables]
    weights[tied[0]][0, 0, 0, 1] = 3.0
    weights[tied[1]][0, 0, 0, 1] = 4.0
    zeros = [np.zeros((1,) * len(v.shape), "float32") for v in variables]
    terms = [{"old": z, "l1": np.float32(0), "group": np.float32(1)} for z in zeros]
    arguments = {"masks": [np.ones(v.shape, "float32") for v in variables]}
    given = {**arguments, "terms": terms}
    given, weights = keras.tree.map_structure(ops.convert_to_tensor, (given, weights))
    out = phase.tied_thresholds(None, weights, given, 1.0)
    np.testing.assert_allclose(
        ops.convert_to_numpy(out[tied[0]])[0, 0, 0, 1], 3 * 0.8, rtol=1e-6
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(out[tied[1]])[0, 0, 0, 1], 4 * 0.8, rtol=1e-6
    )


def test_layers_that_do_not_grow_are_held_and_said():
    x = keras.Input((8, 2))
    y = layers.LSTM(3, name="lstm")(x)
    y = layers.Dense(4, "relu", name="top")(y)
    model = kl.DEN(keras.Model(x, y), growth=2, bucket=8, expansion="constant")
    model.compile(keras.optimizers.Adam(0.01))
    fit(model, "a")

    class Watch(keras.callbacks.Callback):
        def on_phase_begin(self, task, phase):
            self.phase, self.values = phase, self.weights()

        def on_phase_end(self, logs):
            changed[self.phase] = any(
                (a != b).any() for a, b in zip(self.values, self.weights(), strict=True)
            )

        def weights(self):
            carried = self.model.network.carried_variables
            return [np.array(ops.convert_to_numpy(v)) for v in carried]

    changed = {}
    fit(model, "b", callbacks=[Watch()])
    assert changed["selective retraining"] and not changed["expansion"]
    assert units(model) == [[0, 1, 2, 3, 4, 5]]
    plain = model.task_model("a").predict(SERIES, verbose=0)
    np.testing.assert_allclose(plain, predict(model, "a"), atol=1e-6)
    lines = []
    x = keras.Input((6, 6, 2))
    y = layers.Add()([x, layers.Conv2D(2, 3, padding="same", name="as_wide")(x)])
    y = layers.Conv2D(3, 3, name="free")(y)
    model = kl.DEN(keras.Model(x, layers.Flatten()(y)))
    model.summary(lines.append)
    assert "as_wide" in lines[0] and "does not grow: the network's input" in lines[0]
