"""Points of `make doctor` about files' modes and the disk."""

import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from commands.doctor_point import Point, bad, good, untried
from shared.paths import Paths
from shared.settings import SETTINGS, Settings

FLOOR_BYTES = 1024**3
OTHERS = 0o077
_SECRET = re.compile(
    rf"^\s*(?:export\s+)?(?:{'|'.join(one.name for one in SETTINGS if one.secret)})\s*=\s*[^\s#]",
    re.MULTILINE,
)


def file_modes(paths: Paths, settings: Settings | None) -> Point:
    """Whether what is secret is closed to others; None for ``settings`` leaves out what they say."""
    looked_at, remedies = [], []
    for name, path, mode in _secret_files(paths, settings):
        found = stat.S_IMODE(path.stat().st_mode)
        if found & OTHERS:
            looked_at.append(f"{name} is {found:04o}, open to others")
            remedies.append(f"chmod {mode:o} {name}")
        else:
            looked_at.append(f"{name} is {found:04o}")
    if remedies:
        open_ones = [text for text in looked_at if text.endswith("others")]
        return bad("file modes", "; ".join(open_ones), " && ".join(remedies))
    if not looked_at:
        return untried("file modes", "there is nothing yet that must be closed to others")
    return good("file modes", ", ".join(looked_at))


def _secret_files(paths: Paths, settings: Settings | None) -> Iterator[tuple[str, Path, int]]:
    """Name, path and wanted mode of what there is."""
    # A fresh clone has run/ without it; the first start closes the one and makes the other.
    if paths.programs.is_dir():
        yield "run", paths.run, 0o700
    if settings is not None and settings.twitch_token_file.is_file():
        yield _short(settings.twitch_token_file, paths), settings.twitch_token_file, 0o600
    env = paths.root / ".env"
    if env.is_file() and _SECRET.search(env.read_text("utf-8", "replace")):
        yield ".env", env, 0o600


def _short(path: Path, paths: Paths) -> str:
    return str(path.relative_to(paths.root) if path.is_relative_to(paths.root) else path)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def disk_space(
    paths: Paths, settings: Settings | None, free_bytes: Callable[[Path], int] = _free_bytes
) -> Point:
    """Whether the disk that the spool is on has room; ``free_bytes`` gives what a folder's has."""
    folder = paths.run if paths.run.is_dir() else paths.root
    free = free_bytes(folder)
    text = f"{_gib(free)} free where run/ is"
    if free < FLOOR_BYTES:
        remedy = (
            "make room: without it messages cannot wait while Kafka is away; the logs are in logs/, the "
            "embedded Kafka's data in run/kafka/"
        )
        return bad("disk space", text, remedy)
    if settings is not None and free < settings.spool_max_bytes:
        limit = _gib(settings.spool_max_bytes)
        note = f"the spool may take up to {limit} while Kafka is away: make room, or lower SPOOL_MAX_BYTES"
        return good("disk space", text, note)
    return good("disk space", text)


def _gib(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB"
