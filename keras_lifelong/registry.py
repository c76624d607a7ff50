"""Things of one kind by name, and what to say of a name that is not among them.

>>> shapes = Registry("shape")
>>> @shapes.register("square")
... def square(side):
...     return side * side
>>> shapes.get("square")(3), shapes.names()
(9, ['square'])
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any


class Registry:
    """Things of one kind by name.

    Args:
        what: what they are called in messages, in the singular.
        article: "A" or "An", as goes before `what`.
    """

    def __init__(self, what: str, article: str = "A"):
        self.what = what
        self.article = article
        self._entries: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorator: makes a function or class, or any value, known by `name`.

        One that is defined again, as when a cell of a notebook is run again, takes the
        place of the first.

        Raises:
            ValueError: if `name` is no text, or that of something else.
        """
        if not isinstance(name, str) or not name:
            raise ValueError(
                f"The name of {self.article.lower()} {self.what} must be a text that "
                f"is not empty. Received: {name!r}"
            )

        def decorate(entry: Any) -> Any:
            if name in self._entries and not _same(self._entries[name], entry):
                raise ValueError(
                    f"{self.article} {self.what} of this name exists. "
                    f"Received: {name!r}"
                )
            self._entries[name] = entry
            return entry

        return decorate

    def get(self, name: str) -> Any:
        """What is known by `name`.

        Raises:
            ValueError: if there is nothing of that name, with the nearest ones.
        """
        if name not in self:
            raise self.unknown(name)
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._entries

    def unknown(
        self,
        name: Any,
        known: Iterable[str] | None = None,
        unlisted: Iterable[str] = (),
        reason: str = "",
        also: str = "",
    ) -> ValueError:
        """The error for a name that nothing has.

        Args:
            name: what was given.
            known: the names to list. None: those registered.
            unlisted: other names that may have been meant, too many to list.
            reason: why not, for the end of the first sentence.
            also: what else would do, for the end of the message.
        """
        known = self.names() if known is None else list(known)
        near = difflib.get_close_matches(str(name), [*known, *unlisted], n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        listed = ", ".join(known) or "none"
        return ValueError(
            f"There is no {self.what} {name!r}{reason}.{hint} Known: {listed}{also}."
        )


def _same(one: Any, other: Any) -> bool:
    """Whether two functions or classes are one, defined twice."""

    def place(entry):
        return getattr(entry, "__module__", None), getattr(entry, "__qualname__", None)

    return one is other or (place(one) == place(other) and None not in place(one))
