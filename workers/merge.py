"""Several incomplete copies of one stream made into one again. Pure."""

from collections.abc import Iterable, Sequence


def merge_copies(copies: Iterable[Sequence[str]]) -> list[str]:
    """All keys of ``copies``, each once, in an order that no copy contradicts.

    What only one copy has stands right behind its predecessor there, or before the first that another copy
    has too. Copies without anything in common follow each other. Where copies contradict each other the
    earlier one counts.
    """
    order: list[str] = []
    for copy in copies:
        order = _merge(order, copy) if order else list(dict.fromkeys(copy))
    return order


def _merge(order: list[str], copy: Sequence[str]) -> list[str]:
    known = set(order)
    behind: dict[str | None, list[str]] = {}
    anchor: str | None = None
    first_anchor = next((key for key in copy if key in known), None)
    for key in dict.fromkeys(copy):
        if key in known:
            anchor = key
        else:
            behind.setdefault(anchor, []).append(key)
    merged: list[str] = []
    for key in order:
        if key == first_anchor:
            merged += behind.pop(None, [])
        merged.append(key)
        merged += behind.pop(key, [])
    return merged + behind.pop(None, [])
