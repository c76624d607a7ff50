"""JointNet alone: nodes, the table, heirs; with a memory and no model."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_lifelong.model.task_memory import TaskMemory
from keras_lifelong.routes.joint_net import JointNet
from keras_lifelong.routes.parts import find_parts


def body():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, name="low"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.Dense(4, name="high"),
        ]
    )


def new(groups=None):
    network, memory = body(), TaskMemory([], [("node", int, str, int)])
    return JointNet(network, find_parts(network, groups), lambda: memory), memory


def filled(net, number):
    """Nodes of one number throughout."""
    return [[np.full_like(v, number) for v in node] for node in net.active_nodes()]


def learned(net):
    """b is bound to a and has grown the norm; c is bound to b and has grown none."""
    a, b = filled(net, 1.0), filled(net, 2.0)
    net.add("a", ["a", "a", "a"], a)
    net.add("b", ["a", "b", "a"], [a[0], b[1], a[2]])
    net.add("c", ["a", "b", "a"], [a[0], b[1], a[2]])


def test_parts_are_layers_with_weights_or_groups_of_their_channels():
    assert [p.name for p in find_parts(body())] == ["low", "norm", "high"]
    halves = find_parts(body(), 2)
    assert [p.name for p in halves][:3] == ["low/0", "low/1", "norm/0"]
    assert halves[1].layers == (0,) and (halves[1].start, halves[1].stop) == (4, 8)
    np.testing.assert_array_equal(halves[1].of(np.arange(8)), np.arange(4, 8))
    with pytest.raises(ValueError, match="`groups` must divide.*3 and layer 'low'"):
        find_parts(body(), 3)


def test_a_task_has_nodes_of_its_own_and_of_others():
    net, memory = new()
    learned(net)
    assert set(memory) == net.keys("a") | net.keys("b")
    assert ("node", 1, "b", 3) in memory and ("node", 0, "b", 0) not in memory
    assert [node[0].flat[0] for node in net.nodes_of("c")] == [1, 2, 1]
    assert net.users(1, "b") == ["b", "c"] and net.users(1, "a") == ["a"]
    assert net.shared("b") == [0, 1, 2] and net.shared("a") == [0, 2]
    assert net.users_beside("b") == {
        "low of a": ["a", "c"],
        "norm of b": ["c"],
        "high of a": ["a", "c"],
    }
    assert net.lines()[1] == "b: low of a, norm of b, high of a"
    assert [net.params(u) for u in range(3)] == [7 * 8, 16, 9 * 4]
    assert net.network_params() == 7 * 8 + 2 * 16 + 9 * 4


def test_variables_are_of_one_part_each_own_or_frozen():
    network = body()
    network.get_layer("low").trainable = False
    net = JointNet(network, find_parts(network, by_task=True), TaskMemory)
    assert [p.name for p in net.parts] == ["norm", "high"]
    assert (net.decided, net.by_task) == ([1], [0])
    kernel, bias = network.get_layer("low").variables
    assert net.frozen[0] is kernel and net.frozen[1] is bias
    assert [len(net.variables(u)) for u in range(2)] == [4, 2]
    assert [net.params(u) for u in range(2)] == [16, 36]
    halves = find_parts(body(), 2, by_task=True)
    assert [p.by_task for p in halves] == [False] * 2 + [True] * 2 + [False] * 2
    network.trainable = False
    with pytest.raises(ValueError, match="that is trainable"):
        find_parts(network)


@pytest.mark.parametrize("groups", [None, 2])
def test_nodes_are_loaded_and_stored_to_the_last_bit(groups):
    net, _ = new(groups)
    start = net.nodes_in(body())
    net.load(start)
    names = ["a"] * len(net.parts)
    net.add("a", names, start)
    net.load(filled(net, 0.5))
    net.store("a")
    assert all((v == 0.5).all() for node in net.nodes_of("a") for v in node)
    net.store(None)  # no task is active
    net.load(start)
    for mine, node in zip(start, net.active_nodes(), strict=True):
        for a, b in zip(mine, node, strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_a_removed_task_leaves_goes_to_its_heir():
    net, memory = new()
    learned(net)
    net.remove("b")
    assert net.routing == {"a": ["a", "a", "a"], "c": ["a", "c", "a"]}
    assert ("node", 1, "b", 0) not in memory
    assert net.node(1, "c")[0].flat[0] == 2
    net.remove("a")
    assert net.routing == {"c": ["c", "c", "c"]}
    assert [node[0].flat[0] for node in net.nodes_of("c")] == [1, 2, 1]
