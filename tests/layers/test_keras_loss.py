"""Losses of Keras, however they are named."""

import keras
import pytest

from keras_lifelong.layers.keras_loss import as_loss

L = keras.losses


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("kld", L.KLDivergence),
        ("KLDivergence", L.KLDivergence),
        ("mape", L.MeanAbsolutePercentageError),
        (L.categorical_crossentropy, L.CategoricalCrossentropy),
        (L.mean_squared_error, L.MeanSquaredError),
    ],
)
def test_names_and_functions_of_keras_are_its_classes(given, expected):
    """A function would be given class indices, where these want one-hot rows."""
    assert type(as_loss(given)) is expected


def test_a_class_that_is_ignored_is_refused():
    loss = L.SparseCategoricalCrossentropy(ignore_class=0)
    with pytest.raises(ValueError, match="`loss` must count all classes.*=0"):
        as_loss(loss)
