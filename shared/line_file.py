"""Files of raw lines: their format, and how to read them.

A recording holds what Twitch sent, byte for byte, each line with its CR LF, as a text may hold a lone LF.
Most lines say themselves when they were sent (``tmi-sent-ts``). One that does not, or says what cannot be, is
known by the time of its receipt, which a mark before it tells: a line that every IRC parser can read and
nobody has a use for. The time is in Unix milliseconds, and the mark has its CR LF too. ::

    :recorder.local RECEIVED 1764084000123

- The line right behind a mark was received at that time.
- Any other line with a ``tmi-sent-ts`` counts as received when it was sent.
- Any other line was received at the time of the last mark before it. Where there is none, as in files of
  other programs, it counts as received when the last line before it was that tells its time.

A file is plain or gzip, which its first bytes tell, not its name; a gzip file may be cut off anywhere.
Files of other programs may end lines by LF: that is so where no CR LF is in the first 64 KiB, which is as
long as a line can be.
"""

import contextlib
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from shared.chat_message import MAX_AHEAD_MS, timestamp_of
from shared.irc_line import MAX_LINE_BYTES, IrcLine, LineSplitter, parse_line

LINE_END = b"\r\n"
CUT_OFF = "was cut off: its last line or part is missing"
DAMAGED = "is damaged: what follows the damage is left out"
GZIP_WBITS = 31
"""What zlib calls the gzip format."""

_MARK = b":recorder.local RECEIVED "
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 256 * 1024


def mark_line(received_ms: int) -> bytes:
    """The mark of a time, Unix milliseconds, without its CR LF."""
    return _MARK + str(received_ms).encode()


def marked_ms(raw: bytes) -> int | None:
    """The time that a line tells as a mark, Unix milliseconds; None for one that is no mark."""
    if not raw.startswith(_MARK):
        return None
    marked = timestamp_of(raw[len(_MARK) :].decode("ascii", "replace"), -1)
    return marked if marked >= 0 else None


class MarkWriter:
    """Says before which lines of a file a mark is needed. Pure."""

    def __init__(self) -> None:
        self._last_ms: int | None = None

    def mark_before(self, raw: bytes, received_ms: int) -> bytes:
        """The mark to write before the line that was received at that time; empty where none is needed."""
        line = parse_line(raw)
        if line is None:
            return b""
        sent = _sent_ms(line)
        if 0 <= sent <= received_ms + MAX_AHEAD_MS:
            return b""
        # The time of a line that has a wrong one is told only right before it.
        if sent < 0 and received_ms == self._last_ms:
            return b""
        self._last_ms = received_ms
        return mark_line(received_ms)


class LineTimes:
    """Tells when the lines of a file were received; give it all marks and lines in their order. Pure.

    ``now_ms`` is the time of the reading, Unix milliseconds: what claims to be later cannot be believed.
    """

    def __init__(self, now_ms: int) -> None:
        self._latest_ms = now_ms + MAX_AHEAD_MS
        self._marked_ms: int | None = None
        self._sent_ms: int | None = None
        self._is_marked = False

    def mark(self, marked: int) -> None:
        """Take a mark, Unix milliseconds."""
        self._marked_ms = marked
        self._is_marked = True

    def received_ms(self, line: IrcLine) -> int | None:
        """When the line was received, Unix milliseconds; None where nothing tells."""
        is_marked, self._is_marked = self._is_marked, False
        if is_marked:
            return self._marked_ms
        sent = _sent_ms(line)
        if 0 <= sent <= self._latest_ms:
            self._sent_ms = sent
            return sent
        return self._sent_ms if self._marked_ms is None else self._marked_ms


class LineFile:
    """The lines of a file, marks among them, without what ends them. Reads the file anew at each iteration.

    Iterating raises OSError where the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble = ""
        """``CUT_OFF`` or ``DAMAGED`` when that is so; empty when not. Known at the end of an iteration."""
        self.oversized = 0
        """Lines that were skipped because they are longer than Twitch's can be. Known at the end."""
        self.is_packed = False
        """Whether it is a gzip file. Known at the end."""
        self.is_recording = True
        """Whether CR LF ends its lines. Known at the end."""

    def __iter__(self) -> Iterator[bytes]:
        self.trouble = ""
        splitter = LineSplitter()
        with self.path.open("rb") as file:
            chunks = self._chunks(file)
            head = b""
            while len(head) < MAX_LINE_BYTES + len(LINE_END) and (chunk := next(chunks, b"")):
                head += chunk
            self.is_recording = not head or LINE_END in head
            if self.trouble and not self.is_recording:
                # Too short to tell what ends its lines.
                return
            for chunk in itertools.chain([head], chunks):
                yield from splitter.feed(chunk if self.is_recording else chunk.replace(b"\n", LINE_END))
        rest = splitter.feed(LINE_END)
        self.oversized = splitter.oversized
        if rest and not self.trouble:
            if self.is_recording:
                # Half a line could pass for a whole one.
                self.trouble = CUT_OFF
            else:
                yield from rest

    def _chunks(self, file: BinaryIO) -> Iterator[bytes]:
        magic = file.read(len(_GZIP_MAGIC))
        file.seek(0)
        self.is_packed = magic == _GZIP_MAGIC
        if self.is_packed:
            yield from self._unpacked(file)
        else:
            while data := file.read(_CHUNK_BYTES):
                yield data

    def _unpacked(self, file: BinaryIO) -> Iterator[bytes]:
        """What is in the gzip file's members, as far as that can be had."""
        unpacker = zlib.decompressobj(GZIP_WBITS)
        rest, in_member = b"", False
        while data := rest or file.read(_CHUNK_BYTES):
            in_member, before = True, unpacker.copy()
            try:
                unpacked = unpacker.decompress(data, _CHUNK_BYTES)
            except zlib.error:
                self.trouble = DAMAGED
                yield from _up_to_damage(before, data)
                return
            if unpacked:
                yield unpacked
            rest = unpacker.unconsumed_tail
            if unpacker.eof:
                # Padding between members is zeros.
                rest = unpacker.unused_data.lstrip(b"\0")
                unpacker, in_member = zlib.decompressobj(GZIP_WBITS), False
        if in_member:
            self.trouble = CUT_OFF
            if last := unpacker.flush():
                yield last


def _up_to_damage(unpacker: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    """What zlib would keep for itself together with the error."""
    with contextlib.suppress(zlib.error):
        for place in range(len(data)):
            yield unpacker.decompress(data[place : place + 1])


def _sent_ms(line: IrcLine) -> int:
    """When Twitch took the line, Unix milliseconds; -1 when it does not tell."""
    return timestamp_of(line.tags.get("tmi-sent-ts", ""), -1)
