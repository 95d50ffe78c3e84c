"""The errors a user can mend, and the search for what was meant."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right; the text says what was expected, what came and what to do."""


class UnknownName(UserError, KeyError):
    """A name that is not known; the text gives the closest ones."""

    def __str__(self) -> str:
        return self.args[0]


class WeightsError(UserError, ValueError):
    """Weights that cannot be used as asked; the text lists what differs."""


def closest(name: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """Up to `count` of the `known` names that look like `name`, best first."""
    lowered = {k.lower(): k for k in known}
    return [lowered[k] for k in difflib.get_close_matches(name.lower(), lowered, n=count, cutoff=0.5)]


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for an unknown `name` of a `kind` ("model", "layer" …), with the closest names, or all of a few."""
    known = sorted(known)
    near = closest(name, known)
    if near:
        hint = "Did you mean " + " or ".join(repr(n) for n in near) + "?"
    else:
        hint = "There are: " + ", ".join(known[:20]) + (" …" if len(known) > 20 else "") + "."
    return UnknownName(f"There is no {kind} called {name!r}. {hint}")
