"""Checks of settings: what was expected and what came, before anything is read, written or compiled."""

import importlib
import math
from types import ModuleType

from zoo.errors import UserError


def require(holds: bool, name: str, expected: str, got: object) -> None:
    """Raise `UserError` "NAME must be EXPECTED, got GOT." unless the condition holds."""
    if not holds:
        raise UserError(f"{name} must be {expected}, got {got!r}.")


def require_at_least(name: str, value: int, least: int) -> None:
    """A whole number that is not too small."""
    require(value >= least, name, f"at least {least}", value)


def require_share(name: str, value: float) -> None:
    """A number in [0, 1); NaN is none."""
    require(0 <= value < 1, name, "at least 0 and below 1", value)


def require_finite(name: str, value: float, *, positive: bool = False) -> None:
    """A finite number that is not negative, or with `positive` larger than 0; NaN is none."""
    good = math.isfinite(value) and (value > 0 if positive else value >= 0)
    require(good, name, "a finite number above 0" if positive else "a finite number, 0 or above", value)


def extra(module: str, *, what: str, package: str, group: str) -> ModuleType:
    """A module of a package that is not always there, imported when it is needed.

    Args:
        module: its name.
        what: needs it, plural: the message's subject.
        package: that brings it, by the name people know it under.
        group: the extra that installs it.

    Raises:
        UserError: it is not installed; says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        told = f"{what} need {package}, which is not installed: pip install 'symmetry-zoo[{group}]'."
        raise UserError(told) from error
