"""What was told last of a channel by whichever reader had it: a successor goes on from there."""

from collections.abc import Collection
from pathlib import Path

from shared.channel_list import reader_name
from shared.reports import ReaderReport
from shared.status_file import Status, StatusFile, read_status


def last_word_on(channel: str, folder: Path, copy: int) -> Status[ReaderReport] | None:
    """The newest of the status files in ``folder`` that tell of the channel; None when none does.

    A channel may have been read by a reader of its own, or by one of several, depending on
    CHANNELS_PER_READER. ``copy`` is which of the channel's readers asks: each goes on from its own kind.
    """
    files = [path for path in folder.glob("readers-*.json") if _copy_of(path.stem) == copy]
    # Last: that is where a reader of several leaves what it knows before it forgets it.
    files.append(folder / f"{reader_name(channel, copy)}.json")
    found = [status for path in files if (status := read_status(path, ReaderReport))]
    told = [status for status in found if channel in status.report.channels]
    return max(told, key=lambda status: status.head.written, default=None)


def leave_to_others(program: str, kept: Collection[str], folder: Path, copy: int) -> None:
    """Leave what the last life of a reader of several has told of channels that it has no more.

    Its first report would overwrite that. A channel's own file gets it, unless that, or another reader, has
    told something newer.
    """
    left = read_status(folder / f"{program}.json", ReaderReport)
    if left is None:
        return
    for channel, total in left.report.channels.items():
        if channel in kept:
            continue
        newest = last_word_on(channel, folder, copy)
        if newest is not None and newest.head.written <= left.head.written:
            own = StatusFile(folder, reader_name(channel, copy))
            own.write_for(left.head, ReaderReport("not joined", 0, {channel: total}))


def _copy_of(program: str) -> int:
    _kind, _which, *copy = program.split("-")
    return int(copy[0]) if copy and copy[0].isdecimal() else 1
