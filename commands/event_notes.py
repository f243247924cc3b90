"""What the docstrings of the events say, by class and field."""

import ast
import inspect
from types import ModuleType
from typing import NamedTuple

from shared import event_base, event_tags, sub_notices, twitch_events, usernotices

MODULES = (event_tags, event_base, usernotices, sub_notices, twitch_events)


class Notes(NamedTuple):
    """The docstrings of one class."""

    meaning: str
    fields: dict[str, str]
    """Of the fields that the class itself has, in their order."""


def read_notes() -> dict[str, Notes]:
    """The notes of all events and of what they are made of, by the name of the class.

    Raises LookupError for a field without a docstring.
    """
    found: dict[str, Notes] = {}
    for module in MODULES:
        found |= _notes_of(module)
    return found


def notes_of_field(notes: dict[str, Notes], event: type, field: str) -> str:
    """What the docstring says that is nearest to the event."""
    for one in event.__mro__:
        if one.__name__ in notes and field in notes[one.__name__].fields:
            return notes[one.__name__].fields[field]
    raise LookupError(f"{event.__name__}.{field} has no docstring")


def _notes_of(module: ModuleType) -> dict[str, Notes]:
    tree = ast.parse(inspect.getsource(module))
    return {
        node.name: Notes(_plain(ast.get_docstring(node) or ""), _fields_of(node))
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def _fields_of(node: ast.ClassDef) -> dict[str, str]:
    fields: dict[str, str] = {}
    for field, note in zip(node.body, node.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant):
            fields[field.target.id] = _plain(inspect.cleandoc(str(note.value.value)))
    return fields


def _plain(text: str) -> str:
    """A docstring as Markdown: paragraphs on one line each."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return "\n\n".join(paragraphs).replace("``", "`")
