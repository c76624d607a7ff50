"""The PyTorch seam: steps and functions run operation by operation, as they stand.

Nothing is compiled: what the other seams trace, this one calls.
"""

import contextlib
import functools

import keras
import numpy as np
import torch

from keras_lifelong.backend.scope import ValuesScope


def on_accelerator() -> bool:
    return torch.accelerator.is_available()


def _gradients_of(objective, variables):
    values = [variable.value for variable in variables]
    held = [value for value in values if not value.requires_grad]
    for value in held:  # a phase may train what Keras calls not trainable
        value.requires_grad_(True)
    try:
        with torch.enable_grad():
            cost, aux = objective()
            if cost.requires_grad:
                gradients = torch.autograd.grad(
                    cost, values, allow_unused=True, materialize_grads=True
                )
            else:  # a constant
                gradients = [torch.zeros_like(value) for value in values]
    finally:
        for value in held:
            value.requires_grad_(False)
    return (_detached(cost), _detached(aux)), list(gradients)


def _detached(nested):
    """Tensors without their graph, so that it is freed at the end of its step."""
    return torch.utils._pytree.tree_map_only(
        torch.Tensor, lambda tensor: tensor.detach(), nested
    )


def cond(pred, true_fn, false_fn, state):
    """See the TensorFlow seam."""
    del state
    return keras.ops.cond(pred, true_fn, false_fn)


def vectorized_map(function, elements):
    """See the TensorFlow seam."""
    return torch.vmap(function, randomness="same")(elements)


def beside_call(forward):
    """See the TensorFlow seam; here `model(x, …)` ends in `model.forward(x, …)`."""

    @functools.wraps(forward)
    def either(self, *args, **kwargs):
        if isinstance(kwargs.get("name", args[0] if args else None), str):
            return forward(self, *args, **kwargs)
        return keras.Operation.__call__(self, *args, **kwargs)

    return either


class _FewerPlaces(torch.overrides.TorchFunctionMode):
    """Takes 1 x 1 convolutions with strides as such without them, of fewer places.

    That is the same. Of less than 8 channels PyTorch 2.13 ends the process instead: on
    a CPU its gradient by the kernel writes outside its memory.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.conv2d and len(args) == 2:
            x, kernel = args
            padding = kwargs.get("padding", 0)
            if kernel.shape[-2:] == (1, 1) and padding in (0, (0, 0), [0, 0]):
                high, wide = np.broadcast_to(kwargs.pop("stride", 1), 2).tolist()
                args = (x[..., ::high, ::wide], kernel)
        return func(*args, **kwargs)


def _around(variables):
    """What steps that read such variables are to be taken in."""
    small = [v for v in variables if v.shape[-4:-2] == (1, 1) and v.shape[-2] < 8]
    on_cpu = any(v.value.device.type == "cpu" for v in small)
    return _FewerPlaces if on_cpu else contextlib.nullcontext


def compile_loop(step, variables, xla, on_trace):
    """See the TensorFlow seam; `step` is called for each int i, and never traced."""
    del xla, on_trace
    around = _around(variables)  # which are updated in place

    def run(count, carry, *args):
        with torch.no_grad(), around():
            for i in range(int(count)):
                carry = step(_gradients_of, i, carry, *args)
        return carry

    return run


def compile_function(function, variables, xla, lock=None):
    """See the TensorFlow seam; `function` is called each time, so no lock is held."""
    del xla, lock

    def run(values, *args):
        pairs = zip(variables, values, strict=True)
        given = [(v, value) for v, value in pairs if value is not None]
        with ValuesScope([v for v, _ in given], [x for _, x in given]):
            with torch.no_grad():
                return function(*args)

    return run


def apply_gradients(optimizer, gradients, variables):
    """See the TensorFlow seam."""
    optimizer.apply(gradients, variables)


def snapshot(variables):
    """See the TensorFlow seam; clones, because variables are updated in place."""
    return [variable.value.detach().clone() for variable in variables]


def marks(variables):
    """See the TensorFlow seam; PyTorch counts what is done to a tensor in place."""

    def marked():
        kept = [variable.value for variable in variables]
        return tuple((tensor.data_ptr(), tensor._version) for tensor in kept), kept

    return marked


def check_devices():
    """See the TensorFlow seam."""
    distribution = keras.distribution.distribution()
    if distribution is not None:
        raise ValueError(
            "On PyTorch batches are not shared out among devices; on JAX and "
            "TensorFlow they are, by keras.distribution.DataParallel. Received: "
            f"{type(distribution).__name__}."
        )


def divide_processor(count):
    """See the TensorFlow seam; here it is as it was when the process began."""
    del count


def over_devices(batch):
    """See the JAX seam; here one device computes all rows."""
    return batch


def computed_by_rows() -> bool:
    """See the TensorFlow seam."""
    return False


def by_rows(function, x):
    """See the TensorFlow seam; one device computes all rows."""
    return function(x)


def placed(array):
    """See the TensorFlow seam; PyTorch shares the memory of any array it knows."""
    if array.dtype.name == "bfloat16":  # features of a network of halves
        return keras.ops.convert_to_tensor(array)
    return torch.from_numpy(array).to(keras.ops.zeros(()).device)


def tracing() -> bool:
    """See the TensorFlow seam."""
    return torch.compiler.is_compiling()


def is_traced(x) -> bool:
    """See the TensorFlow seam; also whether gradients by x are being recorded."""
    return torch.compiler.is_compiling() or (
        isinstance(x, torch.Tensor) and (x.is_meta or x.requires_grad)
    )
