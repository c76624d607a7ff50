"""The TensorFlow seam: variables are updated in place inside a `tf.function`."""

import contextlib
import ctypes
import functools
import threading

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.eager import execute

from keras_lifelong.backend.scope import Values
from keras_lifelong.backend.scope import ValuesScope
from keras_lifelong.backend.sharing import check_parallel
from keras_lifelong.backend.sharing import devices


def on_accelerator() -> bool:
    return bool(tf.config.list_logical_devices("GPU"))


_ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def _fewer_places():
    """Within it small 1 x 1 convolutions have no strides, and fewer places.

    That is the same, for whoever computes one meanwhile. Of less than 16 channels
    TensorFlow 2.21 ends the process instead: on processors with AVX-512 the gradient by
    the kernel (oneDNN's) writes outside its memory.
    """
    if on_accelerator():
        yield
        return
    with _ONE_AT_A_TIME:
        plain = tf.nn.convolution

        def convolution(input, filters, strides=None, *args, **kwargs):
            step = (strides,) * 2 if np.ndim(strides or 0) == 0 else strides
            if not args[1:] and _is_small(input, filters, step, **kwargs):
                input, strides = input[:, :: step[0], :: step[1]], 1
            return plain(input, filters, strides, *args, **kwargs)

        tf.nn.convolution = convolution  # Keras looks it up there
        try:
            yield
        finally:
            tf.nn.convolution = plain


def _is_small(x, kernel, strides, data_format="NHWC", **others):
    """Whether these are arguments of such a convolution, of images."""
    del others
    ranks = tf.TensorShape(x.shape).rank, tf.TensorShape(kernel.shape).rank
    shape = kernel.shape
    if ranks != (4, 4) or data_format not in (None, "NHWC"):
        return False
    return len(strides) == 2 and shape[:2] == (1, 1) and (shape[2] or 16) < 16


def _gradients_of(objective, variables):
    values = [variable.value for variable in variables]
    zero = tf.UnconnectedGradients.ZERO
    with _fewer_places():  # also what is computed again for the gradient
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            cost, aux = objective()
        gradients = tape.gradient(cost, values, unconnected_gradients=zero)
    # Of an embedding they come by row, a row that is used twice apart: summed here.
    return (cost, aux), [tf.convert_to_tensor(g) for g in gradients]


def cond(pred, true_fn, false_fn, state):
    """`ops.cond` of functions that also assign variables, such as random seeds.

    Args:
        pred: boolean scalar.
        true_fn, false_fn: functions without arguments.
        state: all variables that either of them assigns.
    """
    del state
    return tf.cond(pred, true_fn, false_fn)


def vectorized_map(function, elements):
    """`ops.vectorized_map`; what the function draws at random is the same for all."""
    return keras.ops.vectorized_map(function, elements)


def beside_call(forward):
    """Lets a model have `forward(name, …)`, a name in the first place, as a method.

    In a `tf.function` it is done as it is written: AutoGraph rewrites loops and
    branches of what a method computes to find a task's values, and not all rightly.
    """
    return tf.autograph.experimental.do_not_convert(forward)


def compile_loop(step, variables, xla, on_trace):
    """Compiles `carry = step(gradients_of, i, carry, *args)` for i < count.

    Args:
        step: function that may read and assign `variables`.
        variables: list of `keras.Variable`s the step reads or assigns.
        xla: whether to compile with XLA. None: nothing is compiled.
        on_trace: called each time the loop is traced, which is once per compilation.

    Returns:
        `run(count, carry, *args)`, which takes nested lists, tuples and dicts of
        tensors and returns the last carry. It traces once per structure and shape.
    """
    del variables  # captured by the graph, updated in place
    if xla and computed_by_rows():
        raise ValueError(
            "XLA compiles for one device, and rows are shared out among "
            f"{len(devices())}. Leave `jit_compile` out. Received: jit_compile=True."
        )
    if xla is None:
        return _uncompiled(step)

    def run(count, carry, *args):
        on_trace()

        def body(i, carry):
            return i + 1, step(_gradients_of, i, carry, *args)

        _, carry = tf.while_loop(
            lambda i, _: i < count, body, (tf.constant(0), carry), parallel_iterations=1
        )
        return carry

    # TensorFlow counts how often a function is traced by its code, which all loops
    # have in common, and would warn of it.
    own = functools.partial(run)
    return tf.function(own, jit_compile=xla, autograph=False)


def _uncompiled(step):
    def run(count, carry, *args):
        for i in range(int(count)):
            carry = step(_gradients_of, i, carry, *args)
        return carry

    return run


def compile_function(function, variables, xla, lock=None):
    """Compiles `function(*args)` as a pure function of the values of `variables`.

    Args:
        function: reads `variables`; what it assigns is dropped. It takes and gives
            tensors.
        variables: list of `keras.Variable`s.
        xla: whether to compile with XLA.
        lock: held while the function is traced. None: one of its own.

    Returns:
        `run(values, *args)`: the result under those values, which may have other
        shapes than the variables; a value of None is the variable's as it stands.
    """
    lock = threading.RLock() if lock is None else lock
    traced: dict = {}

    def trace(given, flat):
        mapped = [v for v, is_given in zip(variables, given, strict=True) if is_given]

        @tf.function(jit_compile=xla, autograph=False)
        def run(*tensors):
            with ValuesScope(mapped, tensors[: len(mapped)]):
                return function(*tensors[len(mapped) :])

        specs = [tf.TensorSpec(t.shape, t.dtype) for t in flat]
        return run.get_concrete_function(*specs), run  # which owns it

    def run(values, *args):
        given, flat, form = _prepared(values)
        more = [_tensor(t) for t in args]
        flat = flat + more
        compiled = xla is not None and not tf.config.functions_run_eagerly()
        if compiled and tf.executing_eagerly():
            key = (given, form, _form(more))
            if key not in traced:
                with lock:
                    if key not in traced:
                        traced[key] = trace(given, flat)
            concrete = traced[key][0]
            # straight to the graph: the way by the signature costs more than a small
            # network does
            return concrete._call_flat(flat, concrete.captured_inputs)
        mapped = [v for v, is_given in zip(variables, given, strict=True) if is_given]
        with ValuesScope(mapped, flat[: len(mapped)]):
            return function(*flat[len(mapped) :])

    return run


def _prepared(values):
    """Which values are given, these as tensors, and what a compiled call is kept under.

    Of `Values` it is found once.
    """
    if isinstance(values, Values) and values.prepared is not None:
        return values.prepared
    flat = [_tensor(value) for value in values if value is not None]
    found = tuple(value is not None for value in values), flat, _form(flat)
    if isinstance(values, Values):
        values.prepared = found
    return found


def _form(tensors):
    return tuple((t._shape_tuple(), t.dtype) for t in tensors)


def _tensor(value):
    """As `tf.convert_to_tensor`, which looks long at what is a tensor already."""
    return value if isinstance(value, tf.Tensor) else tf.convert_to_tensor(value)


def apply_gradients(optimizer, gradients, variables):
    """One step of an optimizer that is built on `variables`.

    No weight moves before every gradient is there. Otherwise what a hook computes by a
    second pass may meet weights that have moved, on some runs and not on others.
    """
    with tf.control_dependencies(gradients):
        optimizer.apply(gradients, variables)


def snapshot(variables):
    """The values of variables as tensors that nothing changes any more."""
    with tf.init_scope():  # not what a function that is being traced will read one day
        return [variable.value.value() for variable in variables]


def marks(variables):
    """What tells whether variables were assigned.

    Returns:
        A function without arguments, to be called where nothing is traced. It gives a
        tuple, equal to that of another time if nobody has assigned any of them in
        between, and what is to be kept for as long as it is to be compared: memory
        that is in use is not used for another value.
    """
    places: dict[str, list] = {}
    for variable in variables:
        places.setdefault(variable.value.handle.device, []).append(variable.value)
    reads = [_read_together(values) for values in places.values()]

    def marked():
        kept = [tensor for read in reads for tensor in read()]
        return tuple(map(_address, kept)), kept

    return marked


def _read_together(values):
    """A function that reads variables of one device by one operation.

    This is asked at every prediction. TensorFlow has the operation but no public name
    for it; the public ones, an operation a variable or a function of all, take 3.2
    times as long for eighteen.
    """
    handles = [value.handle for value in values]
    types = [value.dtype.as_datatype_enum for value in values]
    attributes = ("N", len(handles), "dtypes", types)

    def read():
        return execute.execute(
            b"_ReadVariablesOp", len(handles), handles, attributes, context.context()
        )

    return read


def _address(tensor):
    """Where the values of a tensor lie, on whatever device."""
    capsule = tf.experimental.dlpack.to_dlpack(tensor)
    content = _POINTER_OF(capsule, b"dltensor")  # of which the first field is data
    return ctypes.c_void_p.from_address(content).value


_POINTER_OF = ctypes.pythonapi.PyCapsule_GetPointer
_POINTER_OF.restype = ctypes.c_void_p
_POINTER_OF.argtypes = [ctypes.py_object, ctypes.c_char_p]


def check_devices():
    """Refuses what shares work out among devices in a way that is not carried.

    Raises:
        ValueError: naming what is set, and what is carried.
    """
    if tf.distribute.has_strategy():
        raise ValueError(
            "Under a strategy of tf.distribute no model is made or learns: its "
            "variables are another kind. keras.distribution.DataParallel(devices=…) "
            "shares batches out. "
            f"Received: {type(tf.distribute.get_strategy()).__name__}."
        )
    check_parallel()
    if not devices():
        return
    there = [_plain(device.name) for device in tf.config.list_logical_devices()]
    # TensorFlow computes by the processor what others were to compute, and says nothing
    absent = [name for name in devices() if _plain(name) not in there]
    if absent:
        raise ValueError(
            f"`keras.distribution` must name devices of {', '.join(there)}. "
            f"Received: {', '.join(absent)}."
        )


def _plain(name: str) -> str:
    """`cpu:0` of `/device:CPU:0`, as Keras has it."""
    return ":".join(name.lower().split(":")[-2:])


def divide_processor(count):
    """Without a GPU, makes so many devices of the processor; before anything is made.

    Raises:
        RuntimeError: if TensorFlow has made its devices.
    """
    if tf.config.list_physical_devices("GPU"):
        return
    processor = tf.config.list_physical_devices("CPU")[0]
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(processor, [device] * count)


def over_devices(batch):
    """See the JAX seam; here rows are shared out where a network computes them."""
    return batch


def computed_by_rows() -> bool:
    """Whether a network computes parts of a batch apart, so that rows may not meet."""
    return len(devices()) > 1


def by_rows(function, x):
    """`function(x)`, each device of `keras.distribution` computing some of the rows.

    What follows is computed by one device, and so is the loss; gradients go back the
    way that the rows came. What layers draw at random each draws for its own rows: it
    is not what one device would draw for all.

    Args:
        function: of x; what it gives for a row depends on that row alone.
        x: nested structure of tensors (rows, …).
    """
    names, tree = devices(), keras.tree
    rows = keras.ops.shape(tree.flatten(x)[0])[0]
    if len(names) < 2 or not isinstance(rows, int) or rows < len(names):
        return function(x)
    ends = [rows * i // len(names) for i in range(len(names) + 1)]
    parts = []
    for device, start, end in zip(names, ends, ends[1:], strict=False):
        with tf.device(device):
            parts.append(function(tree.map_structure(_rows_between(start, end), x)))
    return tree.map_structure(lambda *some: tf.concat(some, 0), *parts)


def _rows_between(start, end):
    return lambda rows: rows[start:end]


def placed(array):
    """A tensor of an array that nobody changes any more, without a copy if it can be.

    Args:
        array: of NumPy; of numbers, in one piece and aligned to 64 bytes (see
            `training.data.aligned`) it is not copied where the processor computes.
    """
    if on_accelerator() or array.dtype.kind not in "fiu" or not array.size:
        return tf.convert_to_tensor(array)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def tracing() -> bool:
    """Whether a function is being traced, so that what is done has no values yet."""
    return not tf.executing_eagerly()


def is_traced(x) -> bool:
    """Whether x is no value yet, but stands for one in what is being compiled."""
    return tf.is_symbolic_tensor(x)
