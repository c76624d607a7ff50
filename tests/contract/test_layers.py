"""Methods on convolutions, normalisation and dropout, on each backend."""

import keras
import numpy as np
import pytest
import small
from keras import layers

import keras_lifelong as kl
from keras_lifelong.training.optimizers import RMSpropFromOne

X = small.X[:24].reshape(24, 3, 2, 1)


def dense():
    return [layers.Dense(4, "relu"), layers.Dropout(0.2), layers.Dense(3, "relu")]


def convolutions(*normalisation):
    return [
        layers.Conv2D(2, 2, padding="same", activation="relu"),
        *normalisation,
        layers.Dropout(0.2),
        layers.Conv2D(2, 2, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Dense(3, "relu"),
    ]


def lasem(**options):
    return lambda network: kl.LASEM(network, **options)


def ari(network):
    return kl.ARI(network, **small.OPTIONS["ARI"])


CASES = {
    # pruned, so that dropout is drawn in branches of a condition
    "LASEM": (lasem(), convolutions),
    "LASEM exact": (lasem(prune=0.0), convolutions),
    "LASEM dfcnn": (lasem(sharing="dfcnn", m_step="sampled"), convolutions),
    "PAR": (kl.PAR, lambda: convolutions(layers.BatchNormalization())),
    "BindAndGrow": (kl.BindAndGrow, lambda: convolutions(layers.BatchNormalization())),
    "ARI": (ari, lambda: convolutions(layers.BatchNormalization())),
    "ARI at once": (ari, dense),
}


@pytest.mark.parametrize("case", CASES)
def test_it_learns_and_is_saved(case, tmp_path):
    method, hidden = CASES[case]
    x = X if hidden is not dense else X.reshape(24, 6)
    model = method(keras.Sequential([keras.Input(x.shape[1:]), *hidden()]))
    model.compile(RMSpropFromOne(1e-2) if "LASEM" in case else "adam")
    for i in range(2):
        task = kl.Task(f"t{i}", train=(x, small.labels(i)[:24]))
        model.fit(task, epochs=1, batch_size=8, verbose=0)
    found = small.predictions(model, x)
    assert np.isfinite(list(found.values())).all()
    model.save_to_preset(tmp_path / "preset")
    small.assert_same(small.predictions(small.loaded(tmp_path / "preset"), x), found)


@pytest.mark.parametrize(("channels", "filters"), [(3, 6), (12, 20)])
def test_a_small_convolution_with_strides_is_one_of_fewer_places(channels, filters):
    """PyTorch's own gradient of it, and TensorFlow's, end the process."""
    x = np.random.default_rng(0).normal(size=(24, 8, 8, channels)).astype("float32")
    found = []
    for strides, images in ((2, x), (1, x[:, ::2, ::2])):
        draw = keras.initializers.GlorotUniform(seed=3)
        convolution = layers.Conv2D(
            filters, 1, strides=strides, padding="same", kernel_initializer=draw
        )
        network = keras.Sequential(
            [keras.Input(images.shape[1:]), convolution, layers.GlobalMaxPooling2D()]
        )
        model = kl.Finetune(network, pretrained=True)
        model.compile(keras.optimizers.SGD(0.5))
        task = kl.Task("t", train=(images, small.labels(1)[:24]), validation_split=0)
        model.fit(task, epochs=2, batch_size=8, verbose=0)
        found.append(model.network.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.abs(found[0][1]).max() > 0.01  # the biases have moved


def test_other_convolutions_are_computed_as_they_are_where_gradients_are_taken():
    """On TensorFlow, where one is replaced: however it is asked for."""
    tf = pytest.importorskip("tensorflow", reason="is about TensorFlow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("is about TensorFlow")
    from keras_lifelong.backend.tensorflow import _fewer_places

    x = tf.random.stateless_normal((2, 8, 8, 4), (0, 1))
    kernels = [tf.random.stateless_normal((n, n, 4, 5), (0, n)) for n in (1, 3)]
    asked = [
        dict(input=x, filters=kernels[0], strides=2),
        dict(input=x, filters=kernels[0], strides=[2, 1], padding="SAME"),
        dict(input=x, filters=kernels[0], strides=[2]),
        dict(input=x, filters=kernels[0], strides=np.int64(2)),
        dict(input=x, filters=kernels[0]),
        dict(input=x, filters=kernels[1], strides=(2, 2), padding="SAME"),
        dict(input=x[0], filters=kernels[0][0], strides=2),
    ]
    plain = tf.nn.convolution
    for arguments in asked:
        expected = plain(**arguments)
        with _fewer_places():
            found = tf.nn.convolution(**arguments)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError), _fewer_places():
        raise ValueError
    assert tf.nn.convolution is plain
