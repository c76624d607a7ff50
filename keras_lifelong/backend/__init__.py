"""What Keras does not offer, in one small file per backend.

Everything else in the package is `keras.ops`. A *step* is written once, in plain
stateful Keras style (read variables, `optimizer.apply`, `variable.assign`), and the
seam compiles it, but for PyTorch's, which runs it as it stands:

- `compile_loop(step, variables, xla)`: many steps inside one compiled call.
- `compile_function(function, variables, xla)`: one compiled call, a pure function of
  the variables' values: `run(values, *args)`.
- `apply_gradients(optimizer, gradients, variables)`: an optimizer's step.
- `snapshot(variables)`: their values, which stay what they are.
- `marks(variables)`: a function, what tells whether anybody has assigned them since.
- `placed(array)`: it as a tensor, without a copy where that can be.
- `devices()`: the names of those of `keras.distribution`.
- `check_devices()`: refuses devices in a use that is not carried.
- `divide_processor(count)`: several devices of one, where the backend can.
- `over_devices(batch)`: its rows over the devices of `keras.distribution`.
- `by_rows(function, x)`: a network's call, some of the rows on each of these devices.
- `computed_by_rows()`: whether rows may not meet, since that computes them apart.
- `tracing()`: whether anything is being compiled.
- `is_traced(x)`: whether x is being compiled, and no value yet.
- `cond(pred, true_fn, false_fn, state)`: `ops.cond` of functions that assign `state`.
- `vectorized_map(function, elements)`: `ops.vectorized_map`, random layers included.
- `beside_call(forward)`: a model's `forward` that is not what its `__call__` ends in.

Inside a step, `gradients_of(objective, variables)` is handed in by the loop: it
returns `((cost, aux), gradients)` of `objective() -> (cost, aux)`.
"""

import keras

from keras_lifelong.backend.scope import Values
from keras_lifelong.backend.scope import ValuesScope
from keras_lifelong.backend.sharing import devices

NAME = keras.backend.backend()

if NAME == "tensorflow":
    from keras_lifelong.backend.tensorflow import apply_gradients
    from keras_lifelong.backend.tensorflow import beside_call
    from keras_lifelong.backend.tensorflow import by_rows
    from keras_lifelong.backend.tensorflow import check_devices
    from keras_lifelong.backend.tensorflow import compile_function
    from keras_lifelong.backend.tensorflow import compile_loop
    from keras_lifelong.backend.tensorflow import computed_by_rows
    from keras_lifelong.backend.tensorflow import cond
    from keras_lifelong.backend.tensorflow import divide_processor
    from keras_lifelong.backend.tensorflow import is_traced
    from keras_lifelong.backend.tensorflow import marks
    from keras_lifelong.backend.tensorflow import on_accelerator
    from keras_lifelong.backend.tensorflow import over_devices
    from keras_lifelong.backend.tensorflow import placed
    from keras_lifelong.backend.tensorflow import snapshot
    from keras_lifelong.backend.tensorflow import tracing
    from keras_lifelong.backend.tensorflow import vectorized_map
elif NAME == "jax":
    from keras_lifelong.backend.jax import apply_gradients
    from keras_lifelong.backend.jax import beside_call
    from keras_lifelong.backend.jax import by_rows
    from keras_lifelong.backend.jax import check_devices
    from keras_lifelong.backend.jax import compile_function
    from keras_lifelong.backend.jax import compile_loop
    from keras_lifelong.backend.jax import computed_by_rows
    from keras_lifelong.backend.jax import cond
    from keras_lifelong.backend.jax import divide_processor
    from keras_lifelong.backend.jax import is_traced
    from keras_lifelong.backend.jax import marks
    from keras_lifelong.backend.jax import on_accelerator
    from keras_lifelong.backend.jax import over_devices
    from keras_lifelong.backend.jax import placed
    from keras_lifelong.backend.jax import snapshot
    from keras_lifelong.backend.jax import tracing
    from keras_lifelong.backend.jax import vectorized_map
elif NAME == "torch":
    from keras_lifelong.backend.torch import apply_gradients
    from keras_lifelong.backend.torch import beside_call
    from keras_lifelong.backend.torch import by_rows
    from keras_lifelong.backend.torch import check_devices
    from keras_lifelong.backend.torch import compile_function
    from keras_lifelong.backend.torch import compile_loop
    from keras_lifelong.backend.torch import computed_by_rows
    from keras_lifelong.backend.torch import cond
    from keras_lifelong.backend.torch import divide_processor
    from keras_lifelong.backend.torch import is_traced
    from keras_lifelong.backend.torch import marks
    from keras_lifelong.backend.torch import on_accelerator
    from keras_lifelong.backend.torch import over_devices
    from keras_lifelong.backend.torch import placed
    from keras_lifelong.backend.torch import snapshot
    from keras_lifelong.backend.torch import tracing
    from keras_lifelong.backend.torch import vectorized_map
else:
    raise ImportError(
        "keras_lifelong trains on the Keras backends 'tensorflow', 'jax' and 'torch'. "
        f"Received: KERAS_BACKEND={NAME!r}."
    )


def prefers_xla(has_convolution: bool) -> bool:
    """Whether a network trains faster under XLA here.

    Measured on two CPU cores (benchmarks/trainer.py): against TensorFlow's own
    kernels, XLA makes a dense network about twice as fast at batch 10 and hardly
    faster at batch 256, and a small convolutional one 7 times slower at batch 10 and
    90 times at batch 256. JAX has no other way to compile. The rule is fixed, not
    timed at run time, so that two runs on one machine give the same numbers.

    Args:
        has_convolution: whether the network holds a convolution.
    """
    if NAME == "torch" or computed_by_rows():  # no XLA, or not for several devices
        return False
    return NAME == "jax" or on_accelerator() or not has_convolution


__all__ = [
    "NAME",
    "Values",
    "ValuesScope",
    "apply_gradients",
    "beside_call",
    "by_rows",
    "check_devices",
    "compile_function",
    "compile_loop",
    "computed_by_rows",
    "cond",
    "devices",
    "divide_processor",
    "is_traced",
    "marks",
    "on_accelerator",
    "over_devices",
    "placed",
    "prefers_xla",
    "snapshot",
    "tracing",
    "vectorized_map",
]
