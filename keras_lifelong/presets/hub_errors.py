"""What a hub would not do, as errors that say what was asked and what to do next.

Each hub's client raises classes of its own. They are known here by name, so that no
client need be installed.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import Any

CORRUPT = "what came has another checksum than the hub names. Try again"
_TRIES = 3  # of the question that comes before a file
_LONGEST_WAIT = 10  # seconds in between; a longer one is left to the user


class HubError(OSError):
    """What a hub would not do: names the URI, what was asked and what to do."""


class HubFileNotFoundError(HubError, FileNotFoundError):
    """A preset on a hub has no such file."""


class Reason(Exception):
    """What needs no more explaining."""


def patiently(call):
    """Calls, and calls again after trouble that may pass."""
    for tries_left in reversed(range(_TRIES)):
        try:
            return call()
        except Exception as error:
            response, broken = _origin(error)
            wait = _wait(response) or 1
            status = getattr(response, "status_code", None)
            passing = broken or status in (408, 429, 500, 502, 503, 504)
            if not (passing and tries_left and wait <= _LONGEST_WAIT):
                raise
        time.sleep(wait)


@contextlib.contextmanager
def asking(what: str, login: str):
    """Makes a `HubError` that begins with `what` of all that a client raises."""
    try:
        yield
    except Exception as error:
        kind = type(error).__name__
        words = f"{kind}: {(str(error).strip().splitlines() or [''])[0].rstrip('.')}"
        response, broken = _origin(error)
        code = getattr(response, "headers", {}).get("X-Error-Code")
        status = getattr(response, "status_code", None)
        words = f"HTTP {status}, {words}" if status else words
        wait = _wait(response)
        reasons: dict[Any, str] = {
            "Reason": str(error),
            "DataCorruptionError": CORRUPT,
            "OSError": f"{words}. Try again",
            "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set. What was fetched before is "
            "read without the hub if the URI ends with '@' and the commit",
            "EntryNotFound": "the preset has no such file",
            404: f"the hub knows nothing of that name or revision ({words})",
            412: "somebody else has changed it meanwhile. Try again",
            429: "the hub gets too many requests (HTTP 429). Try again "
            + ("later" if wait is None else f"in {wait} seconds"),
            **dict.fromkeys((500, 502, 503, 504), f"{words}. Try again later"),
            True: f"the connection broke ({words}). Try again",
        }
        for key in (401, 403, "CredentialError", "UnauthenticatedError"):
            reasons[key] = (
                f"the hub refuses it ({words}). It is private, does not exist, or "
                f"needs a right that you do not have. {login}"
            )
        keys = (kind, code, status, broken)
        why = next((reasons[key] for key in keys if key in reasons), words)
        raised = HubFileNotFoundError if code == "EntryNotFound" else HubError
        raise raised(f"{what}: {why.rstrip('.')}.") from error


def _origin(error):
    """The answer of a server that led to an exception, and whether a connection broke.

    By names, as each client has its own classes.
    """
    response, names = None, set()
    while error is not None:
        if response is None:  # not `or`: an answer that is an error counts as False
            response = getattr(error, "response", None)
        names |= {base.__name__ for base in type(error).__mro__}
        error = error.__cause__
    broken = names & {"ConnectionError", "TransportError", "RequestException"}
    broken = broken and "OfflineModeIsEnabled" not in names
    return response, response is None and bool(broken)


def _wait(response) -> int | None:
    """The seconds that a server wants one to wait, if it says so."""
    headers = {} if response is None else response.headers
    limit = re.search(r";\s*t\s*=\s*(\d+)", headers.get("RateLimit", ""))
    after = headers.get("Retry-After", "").strip()
    return int(after) if after.isdecimal() else int(limit[1]) if limit else None
