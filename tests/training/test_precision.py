"""What is computed in half precision, counted in the graph of a training step."""

import collections

import keras
import numpy as np
import pytest
from keras import layers

import keras_lifelong as kl
from keras_lifelong import backend
from keras_lifelong.training.data import ArrayData
from keras_lifelong.training.data import Buckets

pytestmark = pytest.mark.skipif(
    backend.NAME != "tensorflow", reason="reads TensorFlow's graphs"
)
CONVOLUTIONS = ("Conv2D", "Conv2DBackpropFilter", "Conv2DBackpropInput")


def operations(policy):
    """How often each operation of a step is of each type: {(name, type): count}."""
    import tensorflow as tf

    policy = keras.DTypePolicy(policy)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, activation="relu", dtype=policy),
            layers.Conv2D(4, 3, dtype=policy),
            layers.BatchNormalization(dtype=policy),
            layers.GlobalAveragePooling2D(dtype=policy),
        ]
    )
    model = kl.Finetune(network)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    x = np.zeros((8, 8, 8, 3), "float32")
    task = kl.Task("a", train=(x, np.arange(8) % 2), validation_split=0)
    loaded = model.load_task(task)
    model.add_task("a", loaded.spec)
    model.activate("a")
    phase = next(model.learn(loaded))
    held = ArrayData(*loaded.train, 8, Buckets())
    program, arguments = model.trainer.prepared(
        phase, held, 0, model.active_variables(), model.loss_key()
    )
    block = next(held.epoch(0))
    zero = tf.zeros(())

    @tf.function(autograph=False)
    def step():
        rows = tf.constant(block.rows), tf.constant(block.valid)
        one = tf.constant(1)
        return program._run(one, (zero, zero), block.x, block.y, None, *rows, arguments)

    graph = step.get_concrete_function().graph.as_graph_def()
    count = collections.Counter()
    for function in graph.library.function:
        for node in function.node_def:
            if node.attr["T"].type:  # not a list of types
                count[node.op, tf.as_dtype(node.attr["T"].type).name] += 1
    return count


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_convolutions_are_halves_and_the_head_and_statistics_floats(half):
    found = operations(f"mixed_{half}")
    for name in CONVOLUTIONS:
        assert found[name, half] > 0
        assert found[name, "float32"] == 0
    # the head: outputs, and gradients of the kernel and of the features
    assert found["MatMul", "float32"] == 3
    assert found["MatMul", half] == 0
    for name in ("Rsqrt", "SparseSoftmaxCrossEntropyWithLogits"):
        assert found[name, half] == 0
    assert found["Rsqrt", "float32"] > 0


def test_without_a_policy_all_are_floats():
    found = operations("float32")
    assert not [key for key in found if key[1] in ("float16", "bfloat16")]
    assert [found[name, "float32"] for name in CONVOLUTIONS[:2]] == [2, 2]
