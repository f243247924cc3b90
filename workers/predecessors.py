"""What was told last of a channel by whichever reader had it: a successor goes on from there."""

from pathlib import Path

from shared.channel_list import reader_name
from shared.reports import ReaderReport
from shared.status_file import Status, read_status


def last_word_on(channel: str, folder: Path, copy: int) -> Status[ReaderReport] | None:
    """The newest of the status files in ``folder`` that tell of the channel; None when none does.

    A channel may have been read by a reader of its own, or by one of several, depending on
    CHANNELS_PER_READER. ``copy`` is which of the channel's readers asks: each goes on from its own kind.
    """
    files = [folder / f"{reader_name(channel, copy)}.json"]
    files += [path for path in folder.glob("readers-*.json") if _copy_of(path.stem) == copy]
    found = [status for path in files if (status := read_status(path, ReaderReport))]
    told = [status for status in found if channel in status.report.channels]
    return max(told, key=lambda status: status.head.written, default=None)


def _copy_of(program: str) -> int:
    _kind, _which, *copy = program.split("-")
    return int(copy[0]) if copy and copy[0].isdecimal() else 1
