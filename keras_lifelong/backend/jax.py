"""The JAX seam: variables enter and leave a pure function as arrays."""

import contextlib
import threading

import jax
import jax.numpy as jnp
import keras

from keras_lifelong.backend.scope import ValuesScope
from keras_lifelong.backend.sharing import check_parallel


def on_accelerator() -> bool:
    return jax.default_backend() != "cpu"


def _values(variables):
    return [variable.value for variable in variables]


def _stateless(function, variables, values):
    """Calls `function()` on `values`; returns its result and the new values."""
    pairs = list(zip(variables, values, strict=True))
    with keras.StatelessScope(pairs, collect_losses=True) as scope:
        result = function()
    new = [scope.get_current_value(variable) for variable in variables]
    return result, new


def _gradients_in(variables):
    """`gradients_of` for a step whose whole state is `variables`."""

    def gradients_of(objective, trained):
        others = [v for v in variables if not any(v is t for t in trained)]
        rest = _values(others)

        def pure(values):
            (cost, aux), new = _stateless(
                objective, [*trained, *others], [*values, *rest]
            )
            return cost, (aux, new[len(trained) :])

        (cost, (aux, new)), gradients = jax.value_and_grad(pure, has_aux=True)(
            _values(trained)
        )
        for variable, value in zip(others, new, strict=True):
            variable.assign(value)  # batch statistics, random seeds
        return (cost, aux), gradients

    return gradients_of


def cond(pred, true_fn, false_fn, state):
    """See the TensorFlow seam; what is assigned leaves a branch as its result."""
    before = _values(state)

    def assign(values):
        for variable, value in zip(state, values, strict=True):
            variable.assign(value)

    def pure(function):
        def branch():
            result, new = function(), _values(state)
            assign(before)
            return result, new

        return branch

    result, new = jax.lax.cond(pred, pure(true_fn), pure(false_fn))
    assign(new)
    return result


def vectorized_map(function, elements):
    """See the TensorFlow seam."""
    return jax.vmap(function)(elements)


def beside_call(forward):
    """See the TensorFlow seam."""
    return forward


def compile_loop(step, variables, xla, on_trace):
    """See the TensorFlow seam; `variables` must be the whole state of the step."""
    gradients_of = _gradients_in(variables)

    @jax.jit
    def pure(count, carry, values, args):
        on_trace()

        def body(i, state):
            carry, values = state
            return _stateless(
                lambda: step(gradients_of, i, carry, *args), variables, values
            )

        return jax.lax.fori_loop(0, count, body, (carry, values))

    def run(count, carry, *args):
        with _compiled(xla):
            carry, values = pure(count, carry, _values(variables), args)
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return carry

    return run


def _compiled(xla):
    """JAX has no other compiler, and compiles unless nothing is to be."""
    return jax.disable_jit() if xla is None else contextlib.nullcontext()


def compile_function(function, variables, xla, lock=None):
    """See the TensorFlow seam."""
    lock = threading.RLock() if lock is None else lock
    traced: set = set()

    @jax.jit
    def pure(values, args):
        with ValuesScope(variables, values):
            return function(*args)

    def run(values, *args):
        values = [
            variable.value if value is None else value
            for variable, value in zip(variables, values, strict=True)
        ]
        key = tuple((jnp.shape(t), jnp.result_type(t)) for t in (*values, *args))
        if key in traced or xla is None:
            with _compiled(xla):
                return pure(values, args)
        with lock:
            found = pure(values, args)
            traced.add(key)
        return found

    return run


def apply_gradients(optimizer, gradients, variables):
    """See the TensorFlow seam. Where an optimizer branches, as one that scales the
    loss does, only its stateless form can be traced."""
    stepped, states = optimizer.stateless_apply(
        _values(optimizer.variables), gradients, _values(variables)
    )
    for variable, value in zip(variables, stepped, strict=True):
        variable.assign(value)
    for variable, value in zip(optimizer.variables, states, strict=True):
        variable.assign(value)


def snapshot(variables):
    """See the TensorFlow seam; JAX's arrays never change."""
    return _values(variables)


def marks(variables):
    """See the TensorFlow seam; what is assigned is another array."""

    def marked():
        kept = snapshot(variables)
        return tuple(map(id, kept)), kept

    return marked


def _sharding(by_rows: bool):
    """How a tensor lies on the devices of `keras.distribution`; None: on one.

    Args:
        by_rows: whether each has a part of the rows. False: each has it all.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return None
    axes = [distribution.batch_dim_name] if by_rows else []
    mesh = distribution.device_mesh.backend_mesh
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


def check_devices():
    """See the TensorFlow seam."""
    if jax.process_count() > 1:
        raise ValueError(
            "Batches are shared out among the devices of one process. Received: "
            f"{jax.process_count()} processes."
        )
    check_parallel()


def divide_processor(count):
    """See the TensorFlow seam; here it is as it was when the process began."""
    del count


def over_devices(batch):
    """The rows of a batch, shared out among the devices of `keras.distribution`.

    What follows is computed where the rows are, and what is of all rows, as a mean or
    a gradient, is summed over the devices: it is what one device would compute, but
    for rounding. Rows that the devices do not divide are computed on each.

    Args:
        batch: nested structure of tensors (rows, …), in what is being compiled.
    """
    sharding = _sharding(by_rows=True)
    if sharding is None:
        return batch
    devices = sharding.mesh.shape[sharding.spec[0]]

    def shared_out(rows):
        if rows.shape[0] % devices:
            return rows
        return jax.lax.with_sharding_constraint(rows, sharding)

    return keras.tree.map_structure(shared_out, batch)


def computed_by_rows() -> bool:
    """See the TensorFlow seam."""
    return False


def by_rows(function, x):
    """See the TensorFlow seam; here rows lie on their devices already."""
    return function(x)


def placed(array):
    """See the TensorFlow seam; every device of `keras.distribution` has it all."""
    sharding = _sharding(by_rows=False)
    if sharding is not None:
        return jax.device_put(array, sharding)
    if on_accelerator() or array.dtype.kind not in "fiu" or not array.size:
        return keras.ops.convert_to_tensor(array)
    return jnp.from_dlpack(array)


def tracing() -> bool:
    """See the TensorFlow seam."""
    return is_traced(jnp.zeros(()))


def is_traced(x) -> bool:
    """See the TensorFlow seam."""
    return isinstance(x, jax.core.Tracer)
