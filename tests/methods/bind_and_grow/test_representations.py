"""Representations alone: what is compared, and the conflict that it amounts to."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl
from keras_lifelong.methods.bind_and_grow import similarity as rsa
from keras_lifelong.methods.bind_and_grow.blocks import activation_places
from keras_lifelong.methods.bind_and_grow.blocks import block_outputs
from keras_lifelong.methods.bind_and_grow.joint_net import JointNet
from keras_lifelong.methods.bind_and_grow.joint_net import find_parts
from keras_lifelong.methods.bind_and_grow.representations import Representations
from keras_lifelong.methods.bind_and_grow.representations import conflict_of
from keras_lifelong.model.task_memory import TaskMemory

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 6)).astype("float32")


def body():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="relu"),
            layers.Dense(8),
            layers.ReLU(),
            layers.Dense(4, activation="relu"),
        ]
    )


def new(groups=None, samples=20, center=False):
    network = body()
    net = JointNet(network, find_parts(network, groups), TaskMemory)
    return Representations(net, samples, center, seed=0)


def task(n=80, held=None):
    y = (X[:n, 0] > 0).astype("int32")
    held = None if held is None else (X[-held:], (X[-held:, 0] > 0).astype("int32"))
    spec = kl.TaskSpec(2)
    return kl.Task("a", spec, train=(X[:n], y), validation=held, validation_split=0)


def test_what_is_compared_is_what_layers_say_after_their_activation():
    network = body()
    places = activation_places(network)
    assert places == {0: 0, 1: 2, 3: 3}  # the ReLU belongs to the layer before it
    seen = dict(block_outputs(network, places, X, lambda layer, out: out))
    for place, end in places.items():
        part = keras.Sequential([keras.Input((6,)), *network.layers[: end + 1]])
        np.testing.assert_allclose(seen[place], np.array(part(X)), atol=1e-6)
    assert (seen[1] >= 0).all()


@pytest.mark.parametrize("held", [None, 2, 30])
def test_probes_are_of_the_validation_data_if_there_are_enough(held):
    x = new().probes(task(40, held))
    source = X[-30:] if held == 30 else X[:40]
    assert x.shape == (20, 6)
    rows = [int(np.flatnonzero((source == one).all(1))[0]) for one in x]
    assert rows == sorted(set(rows))
    np.testing.assert_array_equal(x, new().probes(task(40, held)))


@pytest.mark.parametrize("groups", [None, 2])
def test_every_part_has_its_matrix(groups):
    compared = new(groups)
    net = compared.joint_net
    nodes = net.nodes_in(body())
    matrices = compared.matrices(nodes, X[:20])
    assert len(matrices) == len(net.parts)
    out = np.array(net.network.layers[0](X[:20]))  # it has the nodes now
    for part, matrix in zip(net.parts, matrices, strict=True):
        assert matrix.shape == (20, 20)
        if part.layer == 0:
            np.testing.assert_allclose(
                matrix, rsa.dissimilarities(part.of(out)), atol=1e-6
            )


def test_a_network_is_in_no_conflict_with_itself_and_nothing_is_changed():
    compared = new()
    net = compared.joint_net
    before = [ops.convert_to_numpy(v).copy() for v in net.network.variables]
    alone, other = net.nodes_in(body()), net.nodes_in(body())
    found = compared.conflicts(task(), alone, {"same": alone, "other": other})
    assert list(found) == ["same", "other"]
    np.testing.assert_allclose(found["same"]["rho"], 1.0)
    assert found["same"]["norm"] < found["other"]["norm"]
    assert found["same"]["similarity_norm"] > found["other"]["similarity_norm"]
    for was, variable in zip(before, net.network.variables, strict=True):
        np.testing.assert_array_equal(was, ops.convert_to_numpy(variable))


def test_a_conflict_has_its_norms():
    found = conflict_of([0.0, -0.6])
    assert found["rho"] == [0.0, -0.6]
    np.testing.assert_allclose(found["conflict"], [0.5, 0.8])
    assert found["norm"] == pytest.approx(np.hypot(0.5, 0.8))
    assert found["similarity_norm"] == pytest.approx(np.hypot(0.5, 0.2))
