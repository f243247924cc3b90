"""The channel list: one login a line, ``# comments`` and blank lines allowed. Pure."""

import re
from dataclasses import dataclass

# Twitch gives out logins of 4 to 25 characters; some of its first days are shorter.
LOGIN = re.compile(r"[a-z0-9_]{1,25}")


def reader_name(login: str, copy: int = 1) -> str:
    """Name of the supervised program that reads ``login``; ``copy`` above 1 for a further one."""
    return _of_copy(f"reader-{login}", copy)


def group_name(number: int, copy: int = 1) -> str:
    """Name of a program that reads several channels, the group of that number; ``copy`` as above."""
    return _of_copy(f"readers-{number}", copy)


def names_of_copies(program: str, copies: int) -> list[str]:
    """Names of all the ``copies`` programs that read what the reader ``program`` reads, itself among them."""
    # No login has a hyphen.
    first = "-".join(program.split("-")[:2])
    return [_of_copy(first, copy) for copy in range(1, copies + 1)]


def is_reader(program: str) -> bool:
    """Whether the supervised program of that name reads chat."""
    return program.startswith(("reader-", "readers-"))


def _of_copy(name: str, copy: int) -> str:
    return name if copy == 1 else f"{name}-{copy}"


@dataclass(frozen=True)
class ChannelList:
    """What a channel list says: ``logins`` in order and without repeats, ``warnings`` for the log."""

    logins: tuple[str, ...]
    warnings: tuple[str, ...]


def parse_channel_list(text: str, name: str = "channels.txt") -> ChannelList:
    """Read the text of a channel list; never raises.

    ``name`` is the file's name for the warnings. A line that is no login is left out with a warning that
    names its number, and so is ``#login`` with IRC's hash, which counts as commented out.
    """
    logins: dict[str, None] = {}
    warnings: list[str] = []
    # A byte order mark is what some editors put in front of UTF-8.
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        entry = line.strip()
        login, hash_mark, _ = entry.partition("#")
        if not entry:
            continue
        if entry.startswith("#"):
            if re.fullmatch(r"#[A-Za-z0-9_]{1,25}", entry):
                warnings.append(
                    f"{name} line {number}: {entry} counts as commented out; to read the channel write "
                    f"{entry[1:].lower()}"
                )
            continue
        # A comment may follow a login after a blank; "abc#def" is a slip of the keyboard.
        if hash_mark and not login[-1].isspace():
            login = entry
        # Beyond ASCII lower() makes ASCII letters of others, the Kelvin sign's k for one.
        login = login.strip().lower() if login.isascii() else ""
        if not LOGIN.fullmatch(login):
            warnings.append(
                f"{name} line {number}: {entry[:60]!r} is no channel login (1 to 25 of a-z, 0-9, _), left out"
            )
        elif login not in logins:
            logins[login] = None
    return ChannelList(tuple(logins), tuple(warnings))
