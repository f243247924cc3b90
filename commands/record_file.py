"""The files of a recording, one for each hour of UTC; a kill or a power cut costs seconds of it."""

import contextlib
import fcntl
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from shared.errors import ServiceError
from shared.line_file import CUT_OFF, GZIP_WBITS, LINE_END, LineFile, MarkWriter, marked_ms

FLUSH_SECONDS = 1.0
# A power cut costs what is not on the disk.
DURABLE_SECONDS = 5.0
_HOUR_MS = 3_600_000
_BUFFER_BYTES = 64 * 1024


class RecordingFailed(ServiceError):
    """A file cannot be written. Retrying does not help until somebody has seen to it."""


def path_of_hour(pattern: Path, at_ms: int) -> Path:
    """``chat.irc.gz`` at that time, Unix milliseconds: ``chat-2026-11-25T15.irc.gz``, in UTC. Pure."""
    hour = time.strftime("%Y-%m-%dT%H", time.gmtime(at_ms // 1000))
    packed = pattern.suffix if pattern.suffix.lower() == ".gz" else ""
    name = Path(pattern.name.removesuffix(packed))
    return pattern.with_name(f"{name.stem}-{hour}{name.suffix}{packed}")


class HourFiles:
    """Writes lines to the file of their hour. ``pattern`` names the files, as ``path_of_hour`` says.

    ``clock`` gives monotonic seconds. Every method raises RecordingFailed, after which nothing more can be
    written.
    """

    def __init__(self, pattern: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.files = 0
        """How many were opened."""
        self.lines = 0
        """How many were written, the first ones of files among them."""
        self.first_line = b""
        """Begins every further file, which can be read by itself then; empty for none."""
        self._pattern = pattern
        self._clock = clock
        self._path = pattern
        self._hour = -1
        self._file: _File | None = None
        self._flush_at: float | None = None
        self._durable_at = 0.0

    @property
    def name(self) -> str:
        """Name of the file that was written to last."""
        return self._path.name

    def open(self, now_ms: int) -> None:
        """Open the file of that time, Unix milliseconds, unless it is open."""
        if self._file is not None and now_ms // _HOUR_MS == self._hour:
            return
        self.close()
        self._hour = now_ms // _HOUR_MS
        self._path = path_of_hour(self._pattern, now_ms)
        with self._failing():
            self._file = _File(self._path)
            if self.first_line:
                self._file.add(self.first_line, now_ms)
                self.lines += 1
        self.files += 1

    def add(self, raw: bytes, received_ms: int) -> None:
        """Write a line that was received at that time, Unix milliseconds."""
        self.open(received_ms)
        assert self._file is not None
        with self._failing():
            self._file.add(raw, received_ms)
        self.lines += 1
        if self._flush_at is None:
            self._flush_at = self._clock() + FLUSH_SECONDS

    def tick(self, now_ms: int) -> float | None:
        """Do what the time asks for; the seconds until the next call. None for no such time."""
        if now_ms // _HOUR_MS != self._hour:
            self.close()
        if self._file is None or self._flush_at is None:
            return None
        now = self._clock()
        if now < self._flush_at:
            return self._flush_at - now
        self._flush_at = None
        is_durable = now >= self._durable_at
        if is_durable:
            self._durable_at = now + DURABLE_SECONDS
        with self._failing():
            self._file.flush(is_durable)
        return None

    def close(self) -> None:
        """End the open file in order, if there is one."""
        file, self._file = self._file, None
        self._flush_at = None
        if file is not None:
            with self._failing():
                file.close()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RecordingFailed(f"{self._path} cannot be written: {error.strerror or error}") from None


class _File:
    """One file, plain or gzip as its name says. Raises OSError."""

    def __init__(self, path: Path) -> None:
        is_packed = path.suffix.lower() == ".gz"
        self._descriptor = _open_alone(path, is_packed)
        self._packer = zlib.compressobj(wbits=GZIP_WBITS) if is_packed else None
        self._marks = MarkWriter()
        self._lines = bytearray()
        self._is_begun = False

    def add(self, raw: bytes, received_ms: int) -> None:
        mark = self._marks.mark_before(raw, received_ms)
        if mark:
            self._lines += mark + LINE_END
        self._lines += raw + LINE_END
        if len(self._lines) >= _BUFFER_BYTES:
            self._write(zlib.Z_NO_FLUSH)

    def flush(self, is_durable: bool) -> None:
        self._write(zlib.Z_SYNC_FLUSH)
        if is_durable:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        try:
            self._write(zlib.Z_FINISH)
            os.fdatasync(self._descriptor)
        finally:
            os.close(self._descriptor)

    def _write(self, mode: int) -> None:
        lines, self._lines = bytes(self._lines), bytearray()
        self._is_begun |= bool(lines)
        data = lines
        # A file without a line is no gzip file either.
        if self._packer is not None and self._is_begun:
            data = self._packer.compress(lines)
            if mode != zlib.Z_NO_FLUSH:
                data += self._packer.flush(mode)
        _write_all(self._descriptor, data)


def _open_alone(path: Path, is_packed: bool) -> int:
    """A descriptor that appends to the file, which is whole and which nobody else records to."""
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError("another recording writes to it") from None
            if not _mend(path, is_packed):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _mend(path: Path, is_packed: bool) -> bool:
    """Put a file in the place of one behind whose end nothing could be read; False when it is whole."""
    file = LineFile(path)
    lines = sum(1 for _ in file)
    is_empty = not path.stat().st_size
    if not is_empty and (file.is_packed != is_packed or not (file.is_recording or file.trouble)):
        raise OSError("it is there, and no recording of that kind; give another name")
    if not file.trouble:
        return False
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        _copy_whole_lines(file, lines, beside, is_packed)
        if file.trouble != CUT_OFF:
            path.rename(path.with_name(f"{path.name}.damaged-{int(time.time())}"))
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return True


def _copy_whole_lines(file: LineFile, lines: int, beside: Path, is_packed: bool) -> None:
    packer = zlib.compressobj(wbits=GZIP_WBITS) if is_packed and lines else None
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        mark = b""
        for raw in file:
            data, mark = mark + raw + LINE_END, b""
            if marked_ms(raw) is not None:
                # It belongs to the next line, which may be the one that is missing.
                mark = data
            else:
                _write_all(descriptor, packer.compress(data) if packer else data)
        if packer:
            _write_all(descriptor, packer.flush())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
