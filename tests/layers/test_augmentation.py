"""CropFlip moves, mirrors and brightens, and nothing else."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_lifelong.layers.augmentation import CropFlip

IMAGES = np.random.default_rng(0).random((200, 6, 5, 3)).astype("float32")


def augmented(layer, x=IMAGES):
    return ops.convert_to_numpy(layer(x, training=True))


def test_every_image_is_a_crop_of_its_padded_self():
    out = augmented(CropFlip(padding=2, flip=False, seed=0))
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)))
    seen = set()
    for image, wide in zip(out, padded, strict=True):
        places = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if np.array_equal(image, wide[i : i + 6, j : j + 5])
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 25  # every shift occurs


def test_about_half_are_mirrored():
    out = augmented(CropFlip(padding=0, seed=0))
    same = (out == IMAGES).all((1, 2, 3))
    mirrored = (out == IMAGES[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all() and 70 < mirrored.sum() < 130


def test_brightness_is_one_factor_an_image():
    out = augmented(CropFlip(padding=0, flip=False, brightness=0.25, seed=0))
    factor = (out / IMAGES)[out < 1].min(), (out / IMAGES)[out < 1].max()
    assert 0.75 <= factor[0] < 0.8 and 1.2 < factor[1] <= 1.2501
    inside = out.max((1, 2, 3)) < 1
    spread = (out / IMAGES)[inside].std((1, 2, 3))
    assert spread.max() < 1e-5 and out.max() <= 1


def test_seeds_repeat_and_inference_changes_nothing():
    first, again, other = (augmented(CropFlip(seed=s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(ops.convert_to_numpy(CropFlip()(IMAGES)), IMAGES)
    layer = CropFlip(padding=1, flip=False, brightness=0.5, seed=3)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    np.testing.assert_array_equal(augmented(layer), augmented(again))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"padding": -1}, "`padding`.*-1"),
        ({"padding": 1.5}, "`padding`.*1.5"),
        ({"brightness": 2}, "`brightness`.*2"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        CropFlip(**arguments)
