"""Frozen extractors: repeatable, saved, and clear about what is missing."""

import sys
import types

import keras
import numpy as np
import pytest

from keras_lifelong import backbones
from keras_lifelong.layers import extractors
from keras_lifelong.metrics import task_distance as td

RNG = np.random.default_rng(0)
IMAGES = RNG.random((300, 8, 8, 3)).astype("float32")


def test_random_convolutions_depend_on_the_seed_alone():
    first = extractors.get("random_convolutions", filters=[4, 6])
    again = extractors.get(first.config)
    other = extractors.get({**first.config, "seed": 1})
    features = first(IMAGES)
    assert features.shape == (300, 20) and np.isfinite(features).all()
    np.testing.assert_array_equal(again(IMAGES), features)
    np.testing.assert_allclose(again(IMAGES[290:]), features[290:], atol=1e-5)
    assert not np.allclose(other(IMAGES), features)
    assert first.count_params() == 9 * (3 * 4 + 4 * 6)


def test_pca_whitens_the_tasks_so_far():
    pca = extractors.get("pca", components=5)
    with pytest.raises(ValueError, match="Call `adapt`"):
        pca.project(pca(IMAGES))
    pca.adapt(IMAGES)
    features = pca.project(pca(IMAGES))
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(features.T), np.eye(5), atol=0.01)
    again = extractors.get(pca.config)
    again.set_state(pca.get_state())
    np.testing.assert_array_equal(again.project(again(IMAGES)), features)
    few = extractors.get("pca")
    few.adapt(IMAGES[:4])
    assert few.project(few(IMAGES)).shape == (300, 3)  # four images, three directions


def test_whitening_weighs_tasks_equally_whatever_their_size():
    few, many = IMAGES[:20] + 2.0, IMAGES[20:]
    for tasks in ([few, many], [many, few], [np.repeat(few, 3, 0), many]):
        pca = extractors.get("pca", components=4)
        for images in tasks:
            pca.adapt(images)
        means = [pca.project(pca(images)).mean(0) for images in (few, many)]
        np.testing.assert_allclose(means[0], -means[1], atol=1e-6)


def test_a_projection_is_linear_so_prototypes_can_be_projected():
    extractor = extractors.get("random_convolutions", filters=[4], components=3)
    extractor.adapt(IMAGES)
    features, labels = extractor(IMAGES), np.arange(300) % 3
    np.testing.assert_allclose(
        extractor.project(td.prototypes(features, labels)),
        td.prototypes(extractor.project(features), labels),
        atol=1e-5,
    )


def test_an_application_without_weights(monkeypatch):
    extractor = extractors.get(
        "application", model="MobileNetV2", weights=None, size=32
    )
    assert extractor(IMAGES[:2, :, :, :1]).shape == (2, 1280)
    assert extractor.count_params() > 2e6

    def offline(**kwargs):
        raise Exception("URL fetch failure on https://...")

    offline.__module__ = keras.applications.MobileNetV2.__module__
    monkeypatch.setattr(keras.applications, "MobileNetV2", offline)
    extractor = extractors.get("application", model="MobileNetV2")
    with pytest.raises(OSError, match="could not be downloaded.*random_convolutions"):
        extractor(IMAGES[:2])


FAMILIES = {
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "Xception": "xception",
    "ResNet50": "resnet",
    "ResNet101V2": "resnet_v2",
    "InceptionV3": "inception_v3",
    "InceptionResNetV2": "inception_resnet_v2",
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Small": "mobilenet_v3",
    "DenseNet121": "densenet",
    "NASNetMobile": "nasnet",
    "EfficientNetB0": "efficientnet",
    "EfficientNetV2B0": "efficientnet_v2",
    "ConvNeXtTiny": "convnext",
}


def seen_by(extractor, images):
    """What an extractor's network is given."""
    seen = []

    def network(x, training):
        seen.append(np.asarray(x))
        return keras.ops.mean(x, axis=(1, 2))

    extractor._network = network
    assert extractor(images).shape == (len(images), 3)
    return np.concatenate(seen)


@pytest.mark.parametrize("model", FAMILIES)
def test_a_network_of_applications_sees_what_it_was_trained_on(model):
    module = getattr(keras.applications, FAMILIES[model])
    expected = module.preprocess_input(255 * IMAGES)
    extractor = extractors.get("application", model=model)
    np.testing.assert_allclose(seen_by(extractor, IMAGES), expected, atol=1e-3)


def test_ranges_by_hand():
    black = np.zeros((1, 8, 8, 1), "float32")  # grey: three equal colours
    for model, colours in (
        ("VGG16", [-103.939, -116.779, -123.68]),  # less ImageNet's mean, BGR
        ("DenseNet121", [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]),
        ("ResNet50V2", [-1, -1, -1]),
        ("EfficientNetB0", [0, 0, 0]),
    ):
        found = seen_by(extractors.get("application", model=model), black)
        np.testing.assert_allclose(found[0, 3, 3], colours, rtol=1e-5)


def test_every_network_of_applications_has_its_preprocessing():
    known = [n for n in dir(keras.applications) if n[0].isupper()]
    assert len(known) > 30
    for model in known:
        assert callable(extractors.pretrained.preprocess_input(model))


def test_lite0_needs_no_hub(monkeypatch):
    made = []

    def get(name, shape, **arguments):
        made.append((name, shape, arguments))
        return keras.Sequential([keras.Input(shape), keras.layers.Flatten()])

    monkeypatch.setattr(backbones, "get", get)
    extractor = extractors.get("efficientnet_lite0", size=4)
    assert extractor(IMAGES[:40, ..., :1]).shape == (40, 48)
    given = {"weights": "imagenet"}  # and the default range, [0, 1]
    assert made == [("efficientnet_lite0", (4, 4, 3), given)]
    same = extractors.get({"name": "efficientnet_lite0", "weights": "my.pth"})
    assert same.config == {
        "name": "efficientnet_lite0",
        "weights": "my.pth",
        "size": None,
    }
    as_they_are = seen_by(same, IMAGES)
    np.testing.assert_array_equal(as_they_are, IMAGES)


def test_keras_hub_is_asked_for_when_it_is_used(monkeypatch):
    extractor = extractors.get("hub", preset="some_preset")
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ImportError, match="pip install keras-hub"):
        extractor(IMAGES[:2])
    seen = []

    class Backbone:
        @staticmethod
        def from_preset(preset):
            seen.append(preset)
            if preset == "absent":
                raise ConnectionError("no route")
            return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(5, 3)])

    class ImageConverter:
        @staticmethod
        def from_preset(preset, image_size):
            sizes.append(image_size)
            return keras.layers.Rescaling([0.1, 0.2, 0.3], [1, 2, 3])

    sizes = []
    hub = types.SimpleNamespace(
        models=types.SimpleNamespace(Backbone=Backbone),
        layers=types.SimpleNamespace(ImageConverter=ImageConverter),
    )
    monkeypatch.setitem(sys.modules, "keras_hub", hub)
    grey = IMAGES[:2, :, :, :1]
    features = extractor(grey)
    assert features.shape == (2, 5) and seen == ["some_preset"]
    assert extractor.count_params() == 27 * 5 + 5
    network = extractor._network
    pixels = 255 * np.repeat(grey, 3, -1)
    prepared = (pixels * [0.1, 0.2, 0.3] + [1, 2, 3]).astype("float32")
    expected = np.array(network(prepared)).mean((1, 2))
    np.testing.assert_allclose(features, expected, rtol=1e-4)
    assert sizes == [None]  # images stay as they are
    with pytest.raises(OSError, match="'absent' could not be loaded.*no route"):
        extractors.get("hub", preset="absent")(IMAGES[:2])


def test_an_extractor_can_be_a_networks_body():
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    body = extractors.Body(network)
    np.testing.assert_array_equal(body(IMAGES), IMAGES.reshape(300, -1))
    assert body.count_params() == 0 and body.project(IMAGES) is IMAGES


@pytest.mark.parametrize("name", ["random_convolutions", "pca"])
def test_they_tell_tasks_apart(name):
    extractor = extractors.get(name)
    labels = np.arange(300) % 3
    shown = np.random.default_rng(1).random((6, 8, 8, 3)).astype("float32")
    mine, other = shown[labels] + 0.2 * IMAGES, shown[3 + labels] + 0.2 * IMAGES
    extractor.adapt(mine)
    old = td.prototypes(extractor(mine), labels)
    extractor.adapt(other)

    def distance(images, labels):
        features = extractor.project(extractor(images))
        return td.task_distance(features, labels, extractor.project(old))

    same = distance(mine[::-1], labels[::-1])
    assert same < 0.1 and distance(other, labels) > same + 0.3


def test_any_callable_is_an_extractor():
    mean = extractors.get(lambda images: images.mean((1, 2)))
    assert mean(IMAGES).shape == (300, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"extractor": "resnet"},
            "no extractor 'resnet'.*: application, efficientnet_lite0, hub, pca, ",
        ),
        ({"extractor": "pca", "components": 0}, "Received: 0"),
        ({"extractor": "random_convolutions", "filters": [0]}, r"Received: \[0\]"),
        ({"extractor": "application", "model": "AlexNet"}, "'ResNet50'.*'AlexNet'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        extractors.get(**arguments)


def test_bad_images():
    with pytest.raises(ValueError, match=r"Received: shape \(300, 192\)"):
        extractors.get("random_convolutions")(IMAGES.reshape(300, -1))
