"""Networks of several inputs: dicts and lists wherever arrays of examples are."""

import json
import re

import keras
import numpy as np
import pytest
from keras import layers
from networks import examples
from networks import labels
from networks import two_inputs
from small import assert_same

import keras_lifelong as kl
from keras_lifelong.model import registry
from keras_lifelong.streams.columns import Columns

pytestmark = pytest.mark.usefixtures("eager")
X, Y = examples(two_inputs(), 40), labels(40)


def listed():
    """The same network, of a list of two inputs that differ in shape."""
    a, b = keras.Input((3,)), keras.Input((2,))
    return keras.Model([a, b], layers.Dense(4, "relu")(layers.Concatenate()([a, b])))


def new(network=None, method="Finetune", **options):
    model = getattr(kl, method)(network or two_inputs(), **options)
    model.compile(keras.optimizers.Adam(0.01))
    return model


def test_a_dict_in_all_that_takes_inputs(tmp_path):
    model = new()
    model.fit(X, Y, task="a", verbose=0, validation_split=0.2)
    model.fit(X, 1 - Y, task="b", verbose=0, sample_weight=np.ones(40))
    found = model.predict(X, task="a")
    assert found.shape == (40, 2)
    rows = {key: value[3:7] for key, value in X.items()}
    np.testing.assert_allclose(model.predict(rows, task="a"), found[3:7], atol=1e-6)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model(X, task="a")), found, atol=1e-6
    )
    mixed = model.predict(X, task=["a", "b"] * 20)
    np.testing.assert_allclose(mixed[::2], found[::2], atol=1e-6)
    right = (found.argmax(1) == Y).mean()
    assert model.evaluate(X, Y, task="a")["accuracy"] == pytest.approx(right)
    assert model.train_on_batch(X, Y, task="a")[0] > 0  # the loss
    spec = model.task_spec("a")
    assert spec.input_shape == {"image": (8, 8, 2), "numbers": (3,)}
    assert kl.TaskSpec.from_config(json.loads(json.dumps(spec.to_config()))) == spec
    model.save_to_preset(tmp_path / "p")
    loaded = kl.LifelongModel.from_preset(tmp_path / "p")
    assert_same({"b": loaded.predict(X, task="b")}, {"b": model.predict(X, task="b")})
    swapped = dict(reversed(X.items()))  # keys say which is which, not their order
    np.testing.assert_array_equal(
        model.predict(swapped, task="a"), model.predict(X, task="a")
    )


def test_a_list_of_arrays():
    model = new(listed())
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(40, 3)), rng.normal(size=(40, 2))]
    model.fit(x, Y, task="a", verbose=0)
    stream = [kl.Task("b", train=(x, Y), test=(x, Y)), kl.Task("c", train=(x, 1 - Y))]
    model.fit(stream[0], verbose=0)
    model.fit(stream[1], verbose=0)
    assert model.predict(x, task="c").shape == (40, 2)
    assert model.evaluate(stream[0])["loss"] > 0
    assert model.backbone_input_shape == ((3,), (2,))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("BindAndGrow", {"samples": 20}),
        ("BindAndGrow", {"samples": 20, "retention": "freeze"}),
        ("PAR", {"alpha": 1.0}),
        ("PAR", {"alpha": 0.0, "extractor": "first_expert"}),
    ],
    ids=["slow", "freeze", "shared", "apart"],
)
def test_methods_of_whole_layers_take_a_list(method, options):
    """Examples are compared, shared layers trained on or kept, and tasks come back."""
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(40, 3)), rng.normal(size=(40, 2))]
    model = new(listed(), method, **options)
    model.fit(kl.Task("a", train=(x, Y)), verbose=0)
    first = model.predict(x, task="a")
    model.fit(kl.Task("b", train=(x, 1 - Y)), verbose=0)
    second = model.predict(x, task="b")
    if options.get("retention") == "freeze" or options.get("alpha") == 0.0:
        assert_same({"a": model.predict(x, task="a")}, {"a": first})
    found = model.task_model("b")([keras.ops.convert_to_tensor(p) for p in x])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), second, atol=1e-6)
    model.fit(kl.Task("a", train=(x, Y)), verbose=0)
    assert np.abs(model.predict(x, task="a") - first).max() > 0


@pytest.mark.parametrize("method", ["BindAndGrow", "PAR"])
def test_methods_of_whole_layers_take_data_sets_of_dicts(method):
    tf = pytest.importorskip("tensorflow", reason="gives tf.data")
    model = new(method=method)
    for name, y in (("a", Y), ("b", 1 - Y)):
        data = tf.data.Dataset.from_tensor_slices((X, y))
        task = kl.Task(name, kl.TaskSpec(2), train=data, validation=data)
        model.fit(task, verbose=0, batch_size=8)
    assert model.predict(X, task="b").shape == (40, 2)


def test_par_says_what_goes_with_images_alone():
    with pytest.raises(ValueError, match="`augmentation` goes with one input"):
        new(method="PAR", augmentation={"padding": 1})
    image, numbers = keras.Input((8, 8, 2)), keras.Input((3,))
    cells = kl.backbones.get("cells", (8, 8, 2), filters=4, cells=2)
    y = layers.Concatenate()([cells.layers[-1](image), numbers])
    network = keras.Model([image, numbers], y)
    with pytest.raises(ValueError, match="`search=False`.*CellNetwork"):
        new(network, "PAR")
    assert new(network, "PAR", search=False).has_cells


@pytest.mark.parametrize("form", ["examples", "batches"])
def test_data_sets_of_dicts(form):
    tf = pytest.importorskip("tensorflow", reason="gives tf.data")
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    data = data if form == "examples" else data.batch(7)
    model, other = new(method="EWC"), new(method="EWC")
    model.fit(data, task="a", verbose=0, batch_size=8, shuffle=False)
    task = kl.Task("a", train=(X, Y), validation_split=0)
    other.fit(task, verbose=0, batch_size=8, shuffle=False)
    found, expected = (m.predict(X, task="a") for m in (model, other))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(model.predict(data, task="a"), found)
    scores = [model.evaluate(*given, task="a")["loss"] for given in ((data,), (X, Y))]
    assert scores[0] == pytest.approx(scores[1])


def test_what_does_not_fit_is_named():
    model = new()
    model.fit(X, Y, task="a", verbose=0)
    short = {**X, "numbers": X["numbers"][:5]}
    wide = {**X, "numbers": X["image"]}
    for bad, message in (
        (X["image"], "must be a dict of \\['image', 'numbers'\\]"),
        ({"image": X["image"]}, "must be a dict"),
        ({**X, "more": Y}, "must be a dict"),
        (short, "as many rows"),
        (wide, "shape"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(bad, task="a")
        with pytest.raises(ValueError, match="`x`|has inputs of shape"):
            model.fit(bad, Y, task="b", verbose=0)
    assert model.task_names == ["a"]


def test_methods_that_take_one_input_say_so():
    for method in registry.names():
        if not registry.get(method).carries_inputs:
            with pytest.raises(ValueError, match=f"{method} carries a `backbone`"):
                new(method=method)


def test_the_methods_that_a_refusal_names_take_several():
    with pytest.raises(ValueError, match="PackNet carries.*takes one input") as error:
        new(method="PackNet")
    named = re.search("several, as (.*) do", str(error.value))[1]
    for name in re.split(", | and ", named):
        assert getattr(kl, name).carries_inputs


def test_rows_of_columns():
    both = Columns({"a": np.arange(6), "b": np.arange(12).reshape(6, 2)})
    assert len(both) == 6 and both.shape == (6,)
    assert both[np.array([4, 1])].tree["b"].tolist() == [[8, 9], [2, 3]]
    assert both.example_shape == {"a": (), "b": (2,)}
    spec = kl.TaskSpec.infer(both, np.arange(6) % 2)
    assert spec.input_shape == both.example_shape


def test_another_dict_is_other_data():
    def digest(**more):
        return kl.Task("a", train=({**X, **more}, Y)).digest()

    assert digest() == digest() != digest(numbers=X["numbers"] + 1)
