"""The options of a model: what its constructor was given, checked, and then fixed."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NoReturn
from typing import Self

import keras

from keras_lifelong import checks
from keras_lifelong.training import optimizers

OF_EVERY_MODEL = ("backbone", "seed", "pretrained", "name")


class Options:
    """Values by name, which are read as attributes and do not change.

    Args:
        values: by name.

    >>> options = Options({"growth": 4})
    >>> options.growth, options == Options({"growth": 4})
    (4, True)
    >>> options.growth = 5
    Traceback (most recent call last):
    AttributeError: Options are frozen: use `model.with_options(growth=5)`.
    """

    __slots__ = ("_values",)
    _values: dict[str, Any]

    def __init__(self, values: Mapping[str, Any]):
        object.__setattr__(self, "_values", checks.plain(dict(values)))

    def as_dict(self) -> dict[str, Any]:
        """A copy of all values by name."""
        return checks.plain(self._values)

    def changed(self, changes: Mapping[str, Any]) -> Options:
        """Other options, which differ from these in some values."""
        return Options({**self._values, **changes})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"There is no option {name!r}.")
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(
            f"Options are frozen: use `model.with_options({name}={value!r})`."
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"Options are frozen. Received: del options.{name}")

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Options):
            return NotImplemented
        return self._values == other._values

    __hash__ = None  # type: ignore[assignment]  # they may hold lists

    def __repr__(self) -> str:
        return f"Options({self._values!r})"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def __reduce__(self) -> tuple:
        return Options, (self.as_dict(),)


def checked_options(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a method, checked against its constructor's annotations.

    What every model takes is left out: `LifelongModel` checks that.

    Args:
        cls: the method, whose signature is the one list of its options.
        given: values by name: `locals()` of the constructor, in its first line.

    Raises:
        ValueError: naming the argument, what is accepted and what was received.
    """
    checked = checks.checked(cls, given)
    return {k: v for k, v in checked.items() if k not in OF_EVERY_MODEL}


class OptionsMixin(keras.Model):
    """`with_options` of a `LifelongModel`."""

    options: Options

    def with_options(self, **changes: Any) -> Self:
        """Another model like this one, with some options changed.

        It has what this one has learned, and is compiled as this one is, so that a
        search can try other options from where it stands. This model stays as it is.

        Args:
            **changes: options of the constructor by name.

        Returns:
            A new model of the same class.

        Raises:
            ValueError: if there is no such option; if a value is not what the
                constructor accepts, naming it; or if what was learned does not fit, as
                where sizes follow from an option.

        Example:

        ```python
        model = kl.DEN(backbone, growth=4)
        model.fit(x, y, task="a")
        wider = model.with_options(growth=8)
        ```
        """
        self._check_names(changes)
        model = type(self).from_config({**self.get_config(), **changes})
        if self.compiled:
            optimizer = optimizers.from_config(self.optimizer_config())
            model.compile(optimizer, self._loss, self._metric_arguments)
            model.uses_jit = self.uses_jit
        try:
            model.set_state(*self.get_state())
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                "What was learned must fit the options, and sizes of it do not. "
                f"Received: {changes!r}"
            ) from error
        model.pretrained = self.pretrained  # its weights came with the state
        model.seen.update(self.seen)
        return model

    def _change_options(self, **changes: Any) -> None:
        """Changes options of this very model, where nothing built depends on them.

        A search so goes on with what was compiled, and a method writes down what it
        has resolved. Values are checked one by one, not together.
        """
        self._check_names(changes)
        checked = checks.checked(type(self), changes)
        self.options = self.options.changed({**changes, **checked})

    def _check_names(self, changes: Mapping[str, Any]) -> None:
        for name, value in changes.items():
            if name not in self.options:
                raise checks.unknown_key(name, value, list(self.options))
