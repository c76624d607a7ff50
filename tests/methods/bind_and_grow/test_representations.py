"""Representations alone: what is compared, and the conflict that it amounts to."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_lifelong as kl
from keras_lifelong.graph import Step
from keras_lifelong.methods.bind_and_grow import similarity as rsa
from keras_lifelong.methods.bind_and_grow.blocks import Blocks
from keras_lifelong.methods.bind_and_grow.representations import Representations
from keras_lifelong.methods.bind_and_grow.representations import conflict_of
from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.routes.joint_net import JointNet
from keras_lifelong.routes.parts import find_parts

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


def array(tensor):
    return ops.convert_to_numpy(tensor)


def new(groups=None, samples=20, center=False):
    network = body()
    net = JointNet(network, find_parts(network, groups), TaskMemory)
    return Representations(net, samples, center, seed=0)


def task(n=80, held=None):
    y = (X[:n, 0] > 0).astype("int32")
    held = None if held is None else (X[-held:], (X[-held:, 0] > 0).astype("int32"))
    spec = kl.TaskSpec(2)
    return kl.Task("a", spec, train=(X[:n], y), validation=held, validation_split=0)


def said(net, x, nodes=None):
    """What each part says, and the masks."""
    nodes = net.active_nodes() if nodes is None else nodes
    found = Blocks(net).said({"": nodes}, x, lambda u, ends: ends)
    return {net.parts[u].name: ends for _, u, ends in found}


def net_of(network, by_task=False, together=None):
    parts = find_parts(network, None, together, by_task)
    return JointNet(network, parts, TaskMemory)


def test_what_is_compared_is_what_layers_say_after_their_activation():
    network = body()
    ends = list(said(net_of(network), X).values())
    for end, (found,) in zip((0, 2, 3), ends, strict=True):  # the ReLU is part of it
        part = keras.Sequential([keras.Input((6,)), *network.layers[: end + 1]])
        np.testing.assert_allclose(found.values, array(part(X)), atol=1e-6)
        assert found.mask is None
    assert (ends[1][0].values >= 0).all()


def branches():
    """A norm and an operator behind a layer; a shared layer; a ReLU of two readers."""
    x = keras.Input((6,))
    a = layers.Dense(4, name="a")(x)
    a = keras.ops.relu(layers.BatchNormalization(name="norm")(a))
    shared = layers.Dense(4, name="shared")
    left, right = shared(a), shared(layers.Dense(4, name="b")(x))
    y = layers.ReLU(name="positive")(left)
    top = layers.Dense(3, name="top")(layers.Add()([y, left, right]))
    return keras.Model(x, top)


@pytest.mark.parametrize("by_task", [False, True])
def test_what_a_layer_says_where_the_network_branches(by_task):
    network = branches()
    net = net_of(network, by_task)
    found = said(net, X)
    a = network.get_layer("a")(X)
    normed = keras.ops.relu(network.get_layer("norm")(a))
    shared, b = network.get_layer("shared"), network.get_layer("b")(X)
    expected = {
        "a": [normed if by_task else a],
        "norm": [normed],
        "shared": [shared(normed), shared(b)],  # the first has two readers
        "b": [b],
        "top": [network(X)],
    }
    if by_task:
        del expected["norm"]
    assert set(found) == set(expected)
    for name, ends in expected.items():
        assert len(found[name]) == len(ends)
        for one, values in zip(found[name], ends, strict=True):
            np.testing.assert_allclose(one.values, array(values), atol=1e-5)
    compared = Representations(net, 20, False, seed=0)
    both = np.concatenate([array(v) for v in expected["shared"]], 1)
    place = [net.parts[u].name for u in net.decided].index("shared")
    np.testing.assert_allclose(
        compared.matrices(net.active_nodes(), X)[place],
        rsa.dissimilarities(both),
        atol=1e-5,
    )


def test_layers_that_are_one_part_say_what_the_last_of_them_does():
    net = net_of(branches(), True, {"block": ["a", "shared"]})
    found = said(net, X)
    assert len(found["block"]) == 2 and set(found) == {"block", "b", "top"}


def test_steps_that_fill_up_a_sequence_take_no_part():
    words = keras.Input((4,), dtype="int32")
    y = layers.Embedding(9, 3, mask_zero=True, name="words")(words)
    y = layers.LSTM(3, return_sequences=True, name="lstm")(y)
    network = keras.Model(words, layers.GlobalAveragePooling1D()(y))
    net = net_of(network)
    x = np.array([[1, 2, 0, 0], [3, 4, 0, 0], [5, 6, 0, 0], [7, 8, 0, 0]], "int32")
    found = said(net, x)
    np.testing.assert_array_equal(found["lstm"][0].mask, x > 0)
    short = Representations(net, 20, False, seed=0).matrices(net.active_nodes(), x)
    for matrix, (end,) in zip(short, found.values(), strict=True):
        rows = end.values[:, :2].reshape(4, -1)  # as if there were two steps only
        np.testing.assert_allclose(matrix, 1 - np.corrcoef(rows), atol=1e-6)


def test_inputs_by_name_are_taken():
    import networks

    network = networks.two_inputs()
    net, x = net_of(network), networks.examples(network)
    top = list(said(net, x).values())[-1][0].values
    np.testing.assert_allclose(top, array(network(x)), atol=1e-6)


def test_what_networks_have_in_common_is_computed_once(monkeypatch):
    """The calls that comparing takes do not grow with tasks that share their nodes."""
    compared = new(samples=20)
    net, calls = compared.joint_net, []
    call = Step.__call__

    def counted(self, *args, **kwargs):
        calls.append(self.path)
        return call(self, *args, **kwargs)

    monkeypatch.setattr(Step, "__call__", counted)
    alone, first = net.nodes_in(body()), net.nodes_in(body())
    last = [[first[0], first[1], net.nodes_in(body())[2]] for _ in range(2)]
    lower = [net.nodes_in(body())[0], first[1], first[2]]
    counts, rho = {}, {}
    for name, others in {
        "one": [first],
        "many": [first] * 20,
        "last": [first, last[0], *[first] * 5, last[1]],
        "lower": [first, lower],
    }.items():
        calls.clear()
        networks = {f"t{i}": nodes for i, nodes in enumerate(others)}
        rho[name] = compared.conflicts(task(), alone, networks)
        assert list(rho[name]) == list(networks)
        counts[name] = len(calls)
    # Four layers of the task's own network, and four, or as many as differ, of others
    assert counts == {"one": 4 + 4, "many": 4 + 4, "last": 8 + 2, "lower": 8 + 4}
    for name, i, nodes in (("last", 1, last[0]), ("last", 7, last[1])):
        single = compared.conflicts(task(), alone, {"": nodes})
        assert rho[name][f"t{i}"] == single[""]
    assert rho["lower"]["t1"] == compared.conflicts(task(), alone, {"": lower})[""]


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
    out = array(net.network.layers[0](X[:20]))  # it has the nodes now
    for part, matrix in zip(net.parts, matrices, strict=True):
        assert matrix.shape == (20, 20)
        if part.layers == (0,):
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
