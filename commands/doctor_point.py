"""One point of what `make doctor` looks at. Pure, and of the standard library only."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

GOOD, BAD, UNTRIED = "✓", "✗", "–"

Waiting = Callable[[str], AbstractContextManager[None]]
"""Tells, while its context lasts, what is waited for."""


@dataclass(frozen=True)
class Point:
    """How one point is: its name, the sign, what was found, and where that is not well what to do.

    ``notes`` are further lines that change nothing about the sign.
    """

    name: str
    sign: str
    text: str
    remedy: str = ""
    notes: tuple[str, ...] = ()


def good(name: str, text: str, *notes: str) -> Point:
    """The point is well."""
    return Point(name, GOOD, text, notes=notes)


def bad(name: str, text: str, remedy: str, *notes: str) -> Point:
    """The point is not well; ``remedy`` says what to do."""
    return Point(name, BAD, text, remedy, notes)


def untried(name: str, reason: str, remedy: str = "") -> Point:
    """The point does not apply, or could not be tried, for that reason."""
    return Point(name, UNTRIED, reason, remedy)
