"""Tags of Twitch as fields of an event, and back. Pure.

A tag is read only when its very text can be written again from what was read; any other stays a tag.
"""

import re
from collections.abc import Callable
from types import NoneType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


class Badge(msgspec.Struct, gc=False):
    """One badge beside a name."""

    name: str
    """What kind of badge, such as ``subscriber``, ``moderator`` or ``bits``. [doc]"""
    version: str
    """Which of its pictures, mostly a number; in ``badge_info`` a value, such as the months subscribed.
    [doc]"""


class Spelling(NamedTuple):
    """How a tag says yes and no."""

    yes: str
    no: str


class Tag(NamedTuple):
    """The tag of a field, where it cannot be told from the field's name."""

    name: str


class Computed(NamedTuple):
    """Marks a field that is not made of one tag."""


Flag = Annotated[bool, Spelling("1", "0")]
"""A tag that is ``1`` or ``0``."""
TrueFalse = Annotated[bool, Spelling("true", "false")]
"""A tag that is ``true`` or ``false``."""


class TagField(NamedTuple):
    """A field that is made of one tag."""

    name: str
    tag: str
    read: Callable[[str], Any] | None
    """Gives None for a text that cannot be written again; None where the text itself is the value."""
    write: Callable[[Any], str] | None


def tag_fields(event: type[msgspec.Struct], prefix_of: Callable[[str], str]) -> list[TagField]:
    """The fields of an event that are made of one tag each.

    ``prefix_of`` gives what stands before a field's name in its tag.
    """
    found: list[TagField] = []
    for name, annotation in get_type_hints(event, include_extras=True).items():
        kind, marks = _taken_apart(annotation)
        if not any(isinstance(mark, Computed) for mark in marks):
            tags = [mark.name for mark in marks if isinstance(mark, Tag)]
            tag = tags[0] if tags else prefix_of(name) + name.replace("_", "-")
            found.append(TagField(name, tag, *_converters(kind, marks)))
    return found


def _taken_apart(annotation: Any) -> tuple[Any, list[Any]]:
    """The type in ``Annotated[type | None, marks]``, however nested, and the marks."""
    marks: list[Any] = []
    while True:
        if get_origin(annotation) is Annotated:
            marks += annotation.__metadata__
            annotation = annotation.__origin__
        elif NoneType in get_args(annotation):
            annotation = Union[tuple(one for one in get_args(annotation) if one is not NoneType)]  # noqa: UP007
        else:
            return annotation, marks


def _converters(
    kind: Any, marks: list[Any]
) -> tuple[Callable[[str], Any] | None, Callable[[Any], str] | None]:
    if kind is str:
        return None, None
    if kind is int:
        return _number, str
    if kind is bool:
        yes, no = next(mark for mark in marks if isinstance(mark, Spelling))
        return {yes: True, no: False}.get, {True: yes, False: no}.__getitem__
    if kind == list[Badge]:
        return _badges, _badges_tag
    assert kind == list[str], kind
    return _words, ",".join


def _number(text: str) -> int | None:
    if not _NUMBER.fullmatch(text):
        return None
    number = int(text)
    return number if _SMALLEST <= number <= _LARGEST else None


def _badges(text: str) -> list[Badge] | None:
    badges: list[Badge] = []
    for part in text.split(",") if text else ():
        name, slash, version = part.partition("/")
        if not slash:
            return None
        badges.append(Badge(name, version))
    return badges


def _badges_tag(badges: list[Badge]) -> str:
    return ",".join([f"{badge.name}/{badge.version}" for badge in badges])


def _words(text: str) -> list[str]:
    return text.split(",") if text else []
