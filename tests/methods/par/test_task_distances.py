"""TaskDistances alone: features, prototypes and groups, with a memory and no model."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong.methods.par.task_distances import FUNCTION
from keras_lifelong.methods.par.task_distances import TaskDistances
from keras_lifelong.metrics import task_distance
from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.model.task_memory import TaskRecord

RNG = np.random.default_rng(0)
Y = np.repeat([0, 1], 20)


def network(cells):
    del cells
    return keras.Sequential([keras.Input((6,)), layers.Dense(3)])


def new(extractor=None, reference="paper", images=False):
    memory = TaskMemory([("prototypes", str)])
    for name in "abc":
        memory.records[name] = TaskRecord(kl.TaskSpec(2))
    return TaskDistances(extractor, images, reference, lambda: memory, network), memory


def data(place, seed=0):
    """Two classes around `place`, (40, 6)."""
    rng = np.random.default_rng(seed)
    x = place + 3 * Y[:, None] + 0.3 * rng.normal(size=(40, 6))
    return x.astype("float32")


def test_a_task_is_compared_with_groups_by_their_tasks_prototypes():
    distances, memory = new(lambda x: x)
    assert distances.config == FUNCTION
    for name, place in (("b", 0.0), ("a", 0.5), ("c", 9.0)):
        distances.keep(name, data(place), Y)
    assert memory["prototypes", "a"].shape == (2, 6)
    x = data(0.1, seed=1)
    groups = {"expert_0": ["c"], "expert_1": ["b", "a"]}
    found = distances.compare(x, Y, groups)
    assert found["nearest"] == "expert_1"
    assert found["distance"] == found["group_distances"]["expert_1"] < 1
    assert list(found["distances"]) == ["a", "b", "c"]  # as they were learned
    members = [memory["prototypes", name] for name in "ba"]
    assert found["distance"] == task_distance.group_distance(x, Y, members)
    for name, s in found["distances"].items():
        assert s == task_distance.task_distance(x, Y, memory["prototypes", name])


def test_tasks_that_have_no_expert_are_not_compared_with():
    distances, _ = new(lambda x: x)
    distances.keep("a", data(0.0), Y)
    assert list(distances.compare(data(0.0), Y, {"g": ["a"]})["distances"]) == ["a"]
    assert distances.compare(None, Y, {}) == {"distance": None, "nearest": None}


def test_the_reference_is_kept_to():
    own = data(0.0)
    found = {}
    for reference in ("paper", "code"):
        distances, _ = new(lambda x: x, reference)
        distances.keep("a", own, Y)
        found[reference] = distances.compare(own, Y, {"g": ["a"]})["distance"]
    assert found == {"paper": 0.0, "code": 1.0}  # its zero means unlike


def test_what_the_extractor_notes_of_tasks_is_in_memory():
    distances, memory = new()
    assert distances.config["name"] == "pca"
    task = kl.Task("a", train=(data(0.0), Y), validation_split=0)
    distances.adapt(task)
    distances.keep("a", distances.features(data(0.0)), Y)
    state = {
        key[2]: v for key, v in memory.items() if key[:2] == ("extractor", "state")
    }
    assert state.keys() == distances.extractor.get_state().keys()
    again = TaskDistances(None, False, "paper", lambda: memory, network)
    for one in (distances, again):  # it goes on from memory
        one.adapt(kl.Task("b", train=(data(3.0, 1), Y), validation_split=0))
        for key, value in state.items():
            memory["extractor", "state", key] = value
    x = data(1.0, seed=2)
    groups = {"g": ["a"]}
    assert distances.compare(distances.features(x), Y, groups) == again.compare(
        again.features(x), Y, groups
    )


def test_images_have_an_extractor_of_their_own():
    assert new(images=True)[0].config["name"] == "random_convolutions"


def test_the_first_expert_stays_as_it_was_frozen():
    distances, memory = new("first_expert")
    assert distances.by_first_expert and distances.extractor is None
    with pytest.raises(ValueError, match="`extractor` was a function"):
        distances.features(data(0.0))
    values = [RNG.normal(size=(6, 3)).astype("float32"), np.ones(3, "float32")]
    distances.freeze_expert("cells", values)
    x = data(0.0)
    expected = x @ values[0] + values[1]
    np.testing.assert_allclose(distances.features(x), expected, atol=1e-5)
    assert distances.sizes() == {"prototypes": 0, "extractor": 21}
    distances.freeze_expert("others", [2 * v for v in values])  # there is one
    assert distances.cells == "cells"
    np.testing.assert_allclose(distances.features(x), expected, atol=1e-5)
    memory["extractor", "first_expert", 1] = np.zeros(3, "float32")
    distances.restore("cells")  # of another memory
    np.testing.assert_allclose(distances.features(x), expected - 1, atol=1e-5)


def test_samples_have_every_class():
    distances, _ = new(lambda x: x)
    x, held = data(0.0), Y == 0
    spec = kl.TaskSpec(2)
    whole = kl.Task("a", spec, train=(x, Y), validation=(x[held], Y[held]))
    assert len(distances.samples(whole)[1]) == 40
    part = kl.Task("a", spec, train=(x, Y), validation=(x[10:30], Y[10:30]))
    assert len(distances.samples(part)[1]) == 20
    none = kl.Task("a", spec, train=(x[held], Y[held]), validation_split=0)
    with pytest.raises(ValueError, match="example of each of its 2 classes"):
        distances.samples(none)
