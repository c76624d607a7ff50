"""Scopes in which variables have other values, or none, whatever the backend."""

import keras
from keras.src.backend.common import global_state

_LATER = "uninitialized_variables"  # where Keras keeps those that get values later


class ShapesScope(keras.StatelessScope):
    """Within it variables are made that never have values: for their shapes alone.

    Keras would give them values where the next scope ends, in whatever is done then,
    however large they are.
    """

    def __init__(self):
        super().__init__(initialize_variables=False)

    def __enter__(self):
        self._before = global_state.get_global_attribute(_LATER, [])
        global_state.set_global_attribute(_LATER, [])
        return super().__enter__()

    def __exit__(self, *args, **kwargs):
        super().__exit__(*args, **kwargs)
        global_state.set_global_attribute(_LATER, self._before)


class ValuesScope(keras.StatelessScope):
    """Within it, `variables` have `values`; nothing that is assigned lasts.

    Unlike Keras' own it takes values of other shapes: a network that has grown since
    can be read as it was.

    Args:
        variables: list of `keras.Variable`s.
        values: list of tensors, as many.
    """

    def __init__(self, variables, values):
        super().__init__()
        pairs = zip(variables, values, strict=True)
        self.state_mapping = {id(variable): value for variable, value in pairs}


class Values(list):
    """Values of variables that stay as they are, as those of a task that is used.

    Attributes:
        prepared: what a backend found of them for a compiled call, or None.
    """

    prepared: tuple | None = None
