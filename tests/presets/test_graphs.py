"""Functional models in presets: those of users load, those of attackers are refused."""

import copy
import json
import time

import keras
import numpy as np
import pytest
from broken import Broken
from broken import entry
from keras import layers
from keras import ops

import keras_lifelong as kl
from keras_lifelong import networks
from keras_lifelong.presets import budget
from keras_lifelong.presets import configs
from keras_lifelong.presets import graphs
from keras_lifelong.presets.reading import PresetError

RNG = np.random.default_rng(0)


def described(network):
    return json.loads(json.dumps(keras.saving.serialize_keras_object(network)))


def checked(description):
    configs.check_objects({"backbone": description})
    budget.check_network(description, lambda: 10**9)


def residual():
    """Operations, a constant, slices, a nested model that is called twice."""
    x = keras.Input((4, 4, 3))
    y = ops.relu(layers.Conv2D(4, 3, padding="same")(x))
    z = layers.Add()([(y + 1.0) * np.ones((4,), "float32") / 2, y])
    z = ops.reshape(z, (-1, 64))[:, 1:6]
    inner = keras.Model(x, ops.where(z > 0, z, -(z**2)), name="inner")
    image = keras.Input((4, 4, 3), name="image")
    return keras.Model(image, inner(image, training=False) + inner(image * 2.0))


def words():
    x = keras.Input((6,), dtype="int32")
    y = layers.Embedding(9, 3, mask_zero=True)(x)
    return keras.Model(x, layers.LSTM(3)(y))


def attention():
    x = keras.Input((5, 4))
    y = layers.LayerNormalization()(x)
    y = x + layers.MultiHeadAttention(2, 2)(y, y, use_causal_mask=True)
    return keras.Model(x, layers.GlobalAveragePooling1D()(y))


def two_inputs():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    shared, inner = layers.Dense(3), keras.Sequential([layers.Dense(2), layers.ReLU()])
    merged = layers.Concatenate()([inner(shared(a)), inner(shared(b))])
    return keras.Model({"a": a, "b": b}, merged)


def example(network):
    def array(x):
        shape = (2, *x.shape[1:])
        if x.dtype == "int32":
            return np.tile([1, 2, 3, 0, 0, 0], (2, 1)).astype("int32")
        return RNG.normal(size=shape).astype("float32")

    return keras.tree.map_structure(array, network._inputs_struct)


@pytest.mark.parametrize("make", [residual, words, attention, two_inputs])
def test_a_user_s_graph_comes_back_whole(make):
    network = make()
    description = described(network)
    checked(description)
    ours = networks.deserialized(description)
    assert described(ours) == described(network)
    assert [v.name for v in ours.weights] == [v.name for v in network.weights]
    ours.set_weights(network.get_weights())
    x = example(network)
    assert (np.asarray(ours(x)) == np.asarray(network(x))).all()


def test_a_preset_of_a_graph(eager, tmp_path):
    x = keras.Input((4, 4, 3))
    y = layers.Conv2D(3, 3, padding="same", activation="relu")(x)
    network = keras.Model(x, layers.GlobalAveragePooling2D()(y + y))
    model = kl.Finetune(network, seed=0)
    model.compile(keras.optimizers.Adam(0.01))
    images = RNG.normal(size=(8, 4, 4, 3)).astype("float32")
    model.fit(images, np.arange(8) % 2, task="a", batch_size=4, verbose=0)
    model.save_to_preset(tmp_path / "p")
    loaded = kl.LifelongModel.from_preset(tmp_path / "p")
    assert (loaded.predict(images, task="a") == model.predict(images, task="a")).all()


# What is refused


def plain(*steps):
    """A graph of Dense layers of two units, each after the layer that is named."""
    found = [
        {
            **entry(
                "keras.layers",
                "InputLayer",
                {"name": "i", "batch_shape": [None, 2], "dtype": "float32"},
            ),
            "name": "i",
            "inbound_nodes": [],
        }
    ]
    for name, *sources in steps:
        nodes = [{"args": [tensor(s)], "kwargs": {}} for s in sources]
        dense = entry("keras.layers", "Dense", {"name": name, "units": 2})
        found.append({**dense, "name": name, "inbound_nodes": nodes})
    return graph(found, [steps[-1][0], 0, 0])


def graph(members, output, name="g"):
    config = {"name": name, "trainable": True, "layers": members}
    config |= {"input_layers": ["i", 0, 0], "output_layers": output}
    found = entry("keras.src.models.functional", "Functional", config)
    return {**found, "registered_name": "Functional"}


def tensor(name, call=0, output=0):
    config = {"shape": [None, 2], "dtype": "float32"}
    config["keras_history"] = [name, call, output]
    return {"class_name": "__keras_tensor__", "config": config}


def member(description, name):
    return next(x for x in description["config"]["layers"] if x["name"] == name)


def operation(module, name, config=None, args=None):
    found = entry(module, name, {"name": "o", **(config or {})})
    nodes = [{"args": [tensor("i")] if args is None else args, "kwargs": {}}]
    description = plain(("a", "i"))
    description["config"]["layers"].append(
        {**found, "name": "o", "inbound_nodes": nodes}
    )
    description["config"]["layers"].pop(1)
    description["config"]["output_layers"] = ["o", 0, 0]
    return description


def refused(description, match):
    start = time.process_time()
    with pytest.raises(ValueError, match=match) as caught:
        checked(description)
    assert time.process_time() - start < 2
    assert len(str(caught.value)) < 600


def test_the_plain_graph_of_these_tests_is_fine():
    checked(plain(("a", "i"), ("b", "a")))
    checked(operation("keras.src.ops.nn", "Relu"))


def test_loops_are_refused_by_name():
    refused(plain(("a", "b"), ("b", "a")), "'[ab]'.*loop")
    refused(plain(("a", "a")), "'a'.*loop")
    refused(plain(("a", "nobody")), "'nobody'")
    refused(plain(("a", "i"), ("b", "i")), "'a' leads to no output")
    unused = plain(("a", "i"))
    unused["config"]["layers"].insert(
        1,
        {
            **entry("keras.layers", "Dense", {"name": "u", "units": 10**7}),
            "build_config": {"input_shape": [None, 10**7]},
            "name": "u",
            "inbound_nodes": [],
        },
    )
    refused(unused, "'u' is called nowhere")


def test_calls_are_counted():
    refused(plain(("a", *["i"] * 6000)), "calls")
    row = [("a0", "i"), *((f"a{i}", f"a{i - 1}") for i in range(1, 1000))]
    refused(plain(*row), "1,001 calls in a row")
    inner = plain(("a", "i"), ("b", "a"))
    for _ in range(12):  # 2 ** 12 * 2 calls
        nodes = [
            {"args": [tensor(s, c)], "kwargs": {}} for s, c in (("i", 0), ("n", 0))
        ]
        inner["config"]["name"] = "n"
        outer = plain(("a", "i"))
        outer["config"]["layers"][1] = {**inner, "name": "n", "inbound_nodes": nodes}
        outer["config"]["output_layers"] = ["n", 2, 0]
        inner = outer
    refused(inner, "calls of layers|levels deep")


def test_layers_in_an_order_that_takes_long():
    row = [(f"a{i}", f"a{i + 1}") for i in range(800)]
    backwards = plain(*row, ("a800", "i"))
    backwards["config"]["output_layers"] = ["a0", 0, 0]
    refused(backwards, "order that takes too long")


def test_nesting_has_an_end():
    description = plain(("a", "i"))
    for _ in range(400):
        outer = plain(("a", "i"))
        outer["config"]["layers"][1] = {**description, "name": "n"} | {
            "inbound_nodes": [{"args": [tensor("i")], "kwargs": {}}]
        }
        description["config"]["name"] = "n"
        outer["config"]["output_layers"] = ["n", 1, 0]
        description = outer
    refused(description, "levels deep")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("keras.src.ops.core", "Map"),
        ("keras.src.ops.core", "WhileLoop"),
        ("keras.src.ops.numpy", "Arange"),
        ("keras.src.ops.numpy", "numpy"),
        ("keras.src.ops.numpy", "np"),
        ("keras.ops", "relu"),
        ("keras.ops", "Relu"),
        ("keras.src.ops.nn", "backend"),
        ("keras.src.ops.operation", "Operation"),
        ("keras.src.saving.saving_api", "load_model"),
        ("keras.layers", "Lambda"),
        ("keras.initializers", "Zeros"),
        ("keras.optimizers", "Adam"),
        ("keras", "Functional"),
    ],
)
def test_a_graph_calls_what_is_listed(module, name):
    refused(operation(module, name), name)


def test_an_operation_stands_in_a_graph_alone():
    relu = entry("keras.src.ops.nn", "Relu", {"name": "r"})
    with pytest.raises(ValueError, match="operation"):
        configs.check_objects([relu])
    with pytest.raises(ValueError, match="operation"):
        configs.check_objects({"layer": relu})


VALUES = [
    {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
    {"class_name": "__bytes__", "config": {"value": "x"}},
    {"class_name": "__typespec__", "config": [], "spec_name": "x"},
    {"class_name": "__slice__", "config": {"start": 0, "stop": 1}},
    {"class_name": "__slice__", "config": {"start": "x", "stop": 1, "step": 1}},
    {"class_name": "__numpy__", "config": {"value": [1], "dtype": "S9"}},
    {"class_name": "__keras_tensor__", "config": {"shape": [2], "dtype": "float32"}},
    {"class_name": "__keras_tensor__"},
    entry("keras.layers", "Dense", {"units": 3}),
    entry("builtins", "function", "eval"),
    tensor(None),
    tensor("i", -1),
    tensor("i", 0, "x"),
    "keras_lifelong>Finetune",
    "a text",
    10**9,
    [[[[[[[[[[[[1]]]]]]]]]]]],
    [0] * 20_000,
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
@pytest.mark.parametrize("place", ["args", "kwargs"])
def test_a_call_is_given_plain_values(value, place):
    description = plain(("a", "i"))
    node = member(description, "a")["inbound_nodes"][0]
    node["args"].append(value) if place == "args" else node["kwargs"].update(x=value)
    refused(description, "config.layers|config.backbone")


def test_operations_make_nothing_large():
    wide = operation("keras.src.ops.numpy", "Tile", {"repeats": [1, 10**8]})
    refused(wide, "numbers of one example")
    refused(
        operation("keras.src.ops.numpy", "BroadcastTo", {"shape": [10**8]}, [1.0]),
        "takes no tensor",
    )
    refused(
        operation("keras.src.ops.numpy", "Split", {"indices_or_sections": 10**6}),
        "is the most",
    )
    refused(operation("keras.src.ops.numpy", "Reshape", {"cls": [1]}), "has no 'cls'")


def test_what_a_nested_model_makes_has_a_bound():
    """Its own shape is open; what it is called with is not."""
    open_shape = keras.Input((None, None, 1))
    inner = layers.UpSampling2D(3000)(open_shape)
    inner = keras.Model(open_shape, layers.GlobalMaxPooling2D()(inner))
    x = keras.Input((3, 3, 1))
    refused(described(keras.Model(x, inner(x))), "numbers of one example")


FORMS = {
    "layers": [None, {}, [1], [{"name": 1}]],
    "input_layers": [None, [], ["x", 0, 0], ["i", 3, 0], [[[[[[[]]]]]]], {"x": 1}],
    "output_layers": [None, "a", ["a"], ["a", 1, 0], ["a", 0, None], ["b", 0, 0]],
    "name": [3, ["x"]],
    "trainable": ["x", 1],
    "more": [1],
}


@pytest.mark.parametrize(
    ("key", "value"), [(k, v) for k, found in FORMS.items() for v in found]
)
def test_a_graph_has_one_form(key, value):
    description = plain(("a", "i"))
    description["config"][key] = value
    refused(description, "config.backbone")
    for cut in ("args", "kwargs"):
        description = plain(("a", "i"))
        del member(description, "a")["inbound_nodes"][0][cut]
        refused(description, "args and kwargs")


def test_a_name_is_one_layer_s():
    description = plain(("a", "i"), ("b", "a"))
    description["config"]["layers"].append(copy.deepcopy(member(description, "a")))
    refused(description, "two layers are called 'a'")
    description = plain(("a", "i"))
    member(description, "a")["config"]["name"] = "other"
    refused(description, "two names")


def test_it_is_refused_as_a_preset(tmp_path):
    broken = Broken(tmp_path / "preset")
    broken.config["config"]["backbone"] = plain(("a", "b"), ("b", "a"))
    path = broken.save()
    with pytest.raises(PresetError, match=r"config\.json.*loop"):
        kl.LifelongModel.from_preset(path)


def test_the_number_of_calls_is_that_of_the_graph():
    description = described(residual())
    inner = 4 + len(description["config"]["layers"])
    assert graphs.calls(description) > inner
    assert graphs.calls(described(words())) == 5  # the model, three layers, a mask
