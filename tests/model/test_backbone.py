"""What a backbone brings beside its weights: kept in every copy, or refused by name."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import regularizers

import keras_lifelong as kl
from keras_lifelong.model import registry

pytestmark = pytest.mark.usefixtures("eager")
RNG = np.random.default_rng(0)
X = (RNG.normal(size=(60, 4)) * [1, 10, 100, 1] + [0, 5, 50, 1]).astype("float32")
Y = (X[:, 1] > 5).astype("int32")


def backbone(*first, **second):
    hidden = layers.Dense(6, activation="relu", name="hidden", **second)
    return keras.Sequential([keras.Input((4,)), *first, hidden])


@pytest.mark.parametrize("method", ["Finetune", "BindAndGrow", "PAR", "ARI"])
def test_an_adapted_normalization_is_part_of_every_copy(method, tmp_path):
    normal = layers.Normalization()
    normal.adapt(X)
    given = backbone(normal)
    model = getattr(kl, method)(given)
    model.compile("adam")
    model.add_task("a", kl.TaskSpec(2, input_shape=(4,)))
    if method in ("Finetune", "BindAndGrow"):
        kept = model.network.layers[0](X)
        np.testing.assert_allclose(kept, (X - X.mean(0)) / X.std(0), atol=1e-4)
    assert given.layers[0] is normal and normal.input_mean is None  # as it was
    if method == "Finetune":
        model.fit(X, Y, task="a", verbose=0)
        found = model.predict(X, task="a")
        model.save_to_preset(tmp_path / "preset")
        again = kl.LifelongModel.from_preset(tmp_path / "preset")
        assert (again.predict(X, task="a") == found).all()
        plain = model.task_model("a").predict(X, verbose=0)
        np.testing.assert_allclose(plain, found, atol=1e-6)


def test_adapted_bins_are_kept():
    bins = layers.Discretization(num_bins=3)
    bins.adapt(X[:, :1])
    given = keras.Sequential(
        [keras.Input((1,)), bins, layers.Embedding(3, 2), layers.Flatten()]
    )
    model = kl.Finetune(given)
    np.testing.assert_array_equal(model.network.layers[0](X[:, :1]), bins(X[:, :1]))


def test_adapted_layers_of_a_graph():
    """In a nested model and shared; frozen parts stay frozen, weights are kept."""
    normal, shared = layers.Normalization(), layers.Dense(3)
    normal.adapt(X)
    y = keras.Input((4,))
    inner = keras.Model(y, layers.Dense(3, trainable=False)(normal(y)), name="inner")
    x = keras.Input((4,))
    merged = shared(normal(x)) + shared(x * 2.0)
    given = keras.Model(x, layers.Concatenate()([inner(x), merged]))
    model = kl.Finetune(given, pretrained=True)
    np.testing.assert_allclose(model.network(X), given(X), atol=1e-5)
    assert len(model.network.trainable_variables) == len(shared.weights)
    frozen = keras.Model(x, given(x))
    frozen.trainable = False
    assert not kl.Finetune(frozen).network.trainable_variables
    wrapped = keras.Sequential(
        [keras.Input((2, 4)), layers.TimeDistributed(normal), layers.Flatten()]
    )
    with pytest.raises(ValueError, match="'normalization.*within another layer"):
        kl.Finetune(wrapped)


def test_names_count_for_nothing():
    """Two equal graphs draw the same weights, whatever their layers are called."""

    def make(prefix):
        x = keras.Input((4, 2))
        names = iter(f"{prefix}_{i}" for i in range(9))
        y = layers.MultiHeadAttention(2, 2, name=next(names))(x, x)
        y = layers.Bidirectional(layers.LSTM(2, name=next(names)), name=next(names))(y)
        return keras.Model(x, layers.Dense(3, name=next(names))(y))

    one, other = (kl.Finetune(make(p)).network.get_weights() for p in ("a", "z"))
    for found, expected in zip(one, other, strict=True):
        np.testing.assert_array_equal(found, expected)
    kernels = [w for w in one if w.shape in ((2, 2, 2), (4, 8), (2, 8))]
    for i, kernel in enumerate(kernels):  # nor are query and key, or both directions
        for later in kernels[i + 1 :]:
            assert kernel.shape != later.shape or not (kernel == later).all()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: layers.StringLookup(vocabulary=["a"]), "'string_lookup.*vocabulary"),
        (lambda: layers.Discretization(num_bins=3), "call `adapt`"),
    ],
)
def test_what_a_copy_would_lack_is_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        kl.Finetune(
            keras.Sequential(
                [
                    keras.Input((1,), dtype="string" if "lookup" in message else None),
                    layer(),
                    layers.Embedding(4, 2),
                    layers.Flatten(),
                ]
            )
        )


@pytest.mark.parametrize("method", sorted({*registry.names()} - {"ARI"}))
def test_a_frozen_layer_stays_as_it_was_drawn(method):
    kernels = []
    for rate in (1e-12, 0.5):
        frozen = layers.Dense(5, activation="relu", name="frozen", trainable=False)
        model = registry.get(method)(backbone(frozen))
        model.compile(keras.optimizers.SGD(rate))
        model.fit(X / 50, Y, task="a", epochs=2, verbose=0)
        weights = model.task_model("a").get_weights()
        kernels += [w for w in weights if w.shape == (4, 5)]
    np.testing.assert_array_equal(*kernels)


def test_den_grows_above_frozen_layers_only():
    first = layers.Dense(5, name="first")
    late = keras.Sequential(
        [keras.Input((4,)), first, layers.Dense(3, name="late", trainable=False)]
    )
    with pytest.raises(
        ValueError, match="DEN cannot carry the layer 'late'.*not train"
    ):
        kl.DEN(late)


@pytest.mark.parametrize("term", ["kernel_regularizer", "activity_regularizer"])
@pytest.mark.parametrize(
    ("method", "arguments"),
    [("DEN", {}), ("ARI", {}), ("LASEM", {"sharing": "tf"})],
)
def test_what_a_method_cannot_add_to_its_loss_is_refused(method, arguments, term):
    given = backbone(**{term: regularizers.L2(0.1)})
    with pytest.raises(ValueError, match=f"{method} cannot carry.*'hidden'.*{term}"):
        getattr(kl, method)(given, **arguments)


@pytest.mark.parametrize(
    "method", ["Finetune", "LwF", "EWC", "Joint", "LASEM", "BindAndGrow", "PAR"]
)
def test_a_regularizer_acts_in_every_method(method):
    """So strong that, with this rate, kernels shrink to less than half."""
    norms = []
    for strength in (0.0, 5.0):
        given = backbone(kernel_regularizer=regularizers.L2(strength))
        model = getattr(kl, method)(given)
        model.compile(keras.optimizers.SGD(0.02))
        model.fit(X / 50, Y, task="a", epochs=8, verbose=0)
        kernel = model.task_model("a").layers[0].get_weights()[0]
        norms.append(float(np.linalg.norm(kernel)))
    assert norms[1] < 0.4 * norms[0]


def test_lasem_regularizes_what_is_used():
    """By hand: the posterior of sharing is 3/4, so that part of each counts."""
    given = backbone(kernel_regularizer=regularizers.L2(1.0))
    model = kl.LASEM(given)
    model.posterior.assign([0.75, 0.25])
    (layer,) = model.network.searched
    variables = [layer.transfer.kernel, layer.own.kernel, model.stage]
    shared, own, none = model.regularized(variables, {})
    assert (float(shared), float(own), none) == (0.75, 0.25, None)
