"""Hooks of phases: each by hand, and several as one."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_lifelong.training import hooks

BEFORE = [np.array([1.0, 2.0], "float32"), np.array([3.0], "float32")]
AFTER = [np.array([2.0, 4.0], "float32"), np.array([5.0], "float32")]
ARGUMENTS = {
    "weight_decay": np.float32(0.5),
    "clip_norm": np.float32(1.0),
    "masks": [np.array([1, 0], "float32"), np.array([1], "float32")],
    "scale": np.float32(0.25),
    "scales": [np.array([0.5], "float32"), np.array([0.0], "float32")],
}


def run(hook, *first):
    values = hook(*first)
    return [ops.convert_to_numpy(v).tolist() for v in values]


def gradients(hook, given=AFTER):
    weights = [keras.Variable(w) for w in BEFORE]
    return run(hook, [ops.convert_to_tensor(g) for g in given], weights, ARGUMENTS)


def after_step(hook):
    tensors = [ops.convert_to_tensor(b) for b in BEFORE]
    weights = [keras.Variable(w) for w in AFTER]
    return run(hook, tensors, weights, ARGUMENTS, 0.1)


def test_each_gradients_hook_by_hand():
    assert gradients(hooks.decay) == [[2.5, 5.0], [6.5]]
    assert gradients(hooks.mask) == [[2.0, 0.0], [5.0]]
    given = [np.array([3.0, 0.0], "float32"), np.array([4.0], "float32")]  # of norm 5
    assert gradients(hooks.clip, given)[0] == pytest.approx([0.6, 0])
    assert gradients(hooks.clip, given)[1] == pytest.approx([0.8])


def test_each_after_step_hook_by_hand():
    assert after_step(hooks.put_back) == [[2.0, 2.0], [5.0]]
    assert after_step(hooks.shorter) == [[1.25, 2.5], [3.5]]
    assert after_step(hooks.retained) == [[1.5, 3.0], [3.0]]


def test_a_chain_is_its_hooks_in_order():
    masked = hooks.chain(hooks.decay, hooks.mask)
    assert gradients(masked) == [[2.5, 0.0], [6.5]]
    assert gradients(hooks.chain(hooks.mask, hooks.decay)) == [[2.5, 1.0], [6.5]]
    assert after_step(hooks.chain(hooks.shorter, hooks.put_back)) == [
        [1.25, 2.0],
        [3.5],
    ]


def test_equal_chains_are_equal_so_that_their_programs_are_kept():
    class Method:
        def hook(self, gradients, weights, arguments):
            return gradients

    one, other = Method(), Method()
    assert hooks.chain(hooks.clip, one.hook) == hooks.chain(hooks.clip, one.hook)
    assert len({hooks.chain(one.hook), hooks.chain(one.hook)}) == 1
    assert hooks.chain(one.hook) != hooks.chain(other.hook)
    assert hooks.chain(hooks.clip, hooks.decay) == hooks.clip_and_decay
    assert hooks.chain(hooks.decay, hooks.clip) != hooks.clip_and_decay
