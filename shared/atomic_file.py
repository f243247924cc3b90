"""Files that other processes read are replaced as a whole, never edited."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes, mode: int = 0o600, durable: bool = False) -> None:
    """Put ``content`` at ``path`` so that a reader sees the old file or the new one, never a part.

    ``mode`` is set on the new file whatever the umask. ``durable`` waits until file and folder are on disk;
    without it a power cut may bring the old content back. Raises OSError when the folder is not writable
    or the disk is full; then the old file is untouched.
    """
    beside = _write_beside(path, content, mode, durable)
    try:
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_replaceable(path: Path, size: int) -> None:
    """Do what ``replace_file`` does with ``size`` bytes, up to the replacing. Raises the same OSError."""
    _write_beside(path, bytes(size), 0o600, durable=True).unlink(missing_ok=True)


def _write_beside(path: Path, content: bytes, mode: int, durable: bool) -> Path:
    # The process id keeps two writers of the same file apart.
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return beside
