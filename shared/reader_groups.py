"""Which channels share a reader, where a reader has several. channel-sync decides it and writes a file for
each group, ``<number>.txt`` with a login a line; the readers follow their files.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from shared.atomic_file import replace_file
from shared.channel_list import parse_channel_list

Groups = Mapping[int, tuple[str, ...]]
"""Logins by the number of their reader; the first number is 1."""


def assign(
    logins: Iterable[str], before: Groups, size: int, may_move: bool = True
) -> dict[int, tuple[str, ...]]:
    """Give each channel a reader with at most ``size`` channels. Pure.

    A channel that was there ``before`` stays where it is, but for those that are too many there if they
    ``may_move``; others take the first free places. Readers without a channel are left out.
    """
    wanted = dict.fromkeys(logins)
    groups: dict[int, list[str]] = {}
    for number, members in sorted(before.items()):
        kept = [login for login in members if login in wanted]
        if may_move:
            del kept[size:]
        for login in kept:
            del wanted[login]
        groups[number] = kept
    number = 1
    for login in wanted:
        while len(groups.setdefault(number, [])) >= size:
            number += 1
        groups[number].append(login)
    return {number: tuple(members) for number, members in sorted(groups.items()) if members}


def numbers_by_login(groups: Groups) -> dict[str, int]:
    """The other way round. Pure."""
    return {login: number for number, members in groups.items() for login in members}


def read_groups(folder: Path) -> dict[int, tuple[str, ...]]:
    """What the files in ``folder`` say; empty where there are none."""
    found = {}
    for path in folder.glob("*.txt"):
        if re.fullmatch(r"[1-9][0-9]{0,5}", path.stem):
            members = GroupFile(folder, int(path.stem)).look()
            if members:
                found[int(path.stem)] = members
    return found


def write_groups(folder: Path, groups: Groups) -> None:
    """Make the files say that; what is the same is not touched. Raises OSError."""
    for number in read_groups(folder).keys() - groups.keys():
        _path(folder, number).unlink(missing_ok=True)
    for number, members in groups.items():
        content = "".join(f"{login}\n" for login in members).encode()
        path = _path(folder, number)
        if not path.exists() or path.read_bytes() != content:
            replace_file(path, content)


class GroupFile:
    """One reader's file, looked at again and again.

    Somebody may edit it, and for a moment it is gone or empty: that says nothing. A reader without channels
    is stopped.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._path = _path(folder, number)
        self._signature: tuple[int, ...] | None = None

    def look(self) -> tuple[str, ...] | None:
        """The reader's channels; None when they are the same as at the last look, or there are none."""
        try:
            found = self._path.stat()
            signature = found.st_mtime_ns, found.st_size, found.st_ino
            if signature == self._signature:
                return None
            text = self._path.read_text("utf-8", "replace")
        except OSError:
            return None
        self._signature = signature
        return parse_channel_list(text, self._path.name).logins or None


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number}.txt"
