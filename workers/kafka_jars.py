"""The embedded broker's software: Apache Kafka's jars, fetched once and checked against a lock file.

``python -m workers.kafka_jars`` fetches what is missing, with visible progress; ``--lock`` resolves the
version anew and rewrites the lock file.
"""

import argparse
import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared import settings
from shared.atomic_file import replace_file
from shared.errors import BrokerSoftwareError, ServiceError
from shared.paths import Paths

VERSION = "4.3.1"
LOCK = Path(__file__).with_suffix(".lock")
EXIT_INTERRUPTED = 130
_ENDPOINT = ("org.apache.kafka", "kafka_2.13", VERSION)
# What makes Kafka's log lines appear; its own package does not lead to it. Taken by itself: resolved together
# with Kafka, log4j's list of versions would bring other ones of Kafka's own jars.
_LOG_BINDING = ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4")
_FOLDER = f"apache-kafka-{VERSION}"
_COMPLETE = "complete"
_FETCHING = f"fetching Apache Kafka {VERSION}"
_THREADS = 6
_ATTEMPTS = 2
_PROGRESS_LINES = 4
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class Jar:
    """One line of the lock file."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def filename(self) -> str:
        """Its name in the folder."""
        return f"{self.artifact}-{self.version}.jar"


@dataclass(frozen=True)
class Source:
    """Which jars are wanted, where they are fetched from and where they are shared."""

    lock: Path = LOCK
    shared: Path | None = Path(sys.prefix) / "share" if sys.prefix != sys.base_prefix else None
    """Folder of every checkout with this virtual environment; None: share nothing, as without one."""
    repository: str | None = None
    """Base address of a Maven repository; None: Maven Central."""


class Progress:
    """Tells how far a fetch is by at most six lines, given to ``say``."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def at(self, done: int, total: int) -> None:
        """``done`` of ``total`` jars are there."""
        if done < total and done % -(-total // _PROGRESS_LINES) == 0:
            self.say(f"{_FETCHING} ({total} jars, 44 MB) … {done}/{total}")


class TerminalProgress(Progress):
    """The same on a terminal: one line that counts."""

    def at(self, done: int, total: int) -> None:
        """See Progress."""
        text = f"\rkafka: {_FETCHING} ({total} jars, 44 MB) … {done}/{total}"
        _print(text, end="\n" if done == total else "")


def read_lock(text: str) -> list[Jar]:
    """The jars of a lock file, ``<sha256>  <group>:<artifact>:<version>`` a line, ``#`` comments. Pure."""
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [Jar(checksum, *coordinates.split(":")) for checksum, coordinates in lines]


def fetch(
    paths: Paths,
    progress: Progress,
    source: Source = Source(),
    stopping: Callable[[], bool] = lambda: False,
) -> Path:
    """The folder with all jars; they are fetched when they are not there, which takes seconds.

    It is the virtual environment's, so that every checkout that uses it shares it; where there is none or it
    is not writable, it is below ``run/kafka``. ``stopping`` is asked between two jars.
    Raises BrokerSoftwareError, whose text says what to do, or that the fetch was stopped.
    """
    lock = source.lock.read_text()
    parents = [source.shared, paths.kafka] if source.shared else [paths.kafka]
    places = [parent / _FOLDER for parent in parents]
    for folder in places:
        if is_complete(folder, lock):
            return folder
    for folder in places:
        try:
            # run/ is there in every checkout, and closed to others by any worker.
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _only_one(folder, progress):
                # Another process may have fetched while this one waited.
                if not is_complete(folder, lock):
                    _fetch_into(folder, lock, source.repository, progress, stopping)
            return folder
        except OSError as error:
            if error.errno not in _NOT_WRITABLE:
                raise BrokerSoftwareError(
                    f"Apache Kafka could not be stored in {folder.parent} ({error.strerror or error}): "
                    "make room there, or set KAFKA_BROKERS to use a Kafka of your own"
                ) from None
    raise BrokerSoftwareError(f"Apache Kafka cannot be stored, not writable: {', '.join(map(str, parents))}")


def is_complete(folder: Path, lock: str) -> bool:
    """Whether ``folder`` holds every jar of the text ``lock``, each as long as it was when it was checked."""
    try:
        checksum, *files = (folder / _COMPLETE).read_text().splitlines()
        sizes = [line.split(" ", 1) for line in files]
        return checksum == _sha256(lock.encode()) and all(
            (folder / name).stat().st_size == int(size) for size, name in sizes
        )
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _only_one(folder: Path, progress: Progress) -> Iterator[None]:
    """Let the processes that want to fetch into the same folder do it one after the other."""
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"waiting for another process that fetches Apache Kafka {VERSION} …")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch_into(
    folder: Path, lock: str, repository: str | None, progress: Progress, stopping: Callable[[], bool]
) -> None:
    began = time.monotonic()
    # What a killed predecessor has left is of no use: jgo writes jars in place.
    for left in folder.parent.glob(f".{folder.name}.part-*"):
        shutil.rmtree(left, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.part-", dir=folder.parent))
    try:
        whole = part / "whole"
        whole.mkdir()
        # Other users of a shared environment read it too, whatever the umask of a supervised worker is.
        whole.chmod(0o755)
        jars = read_lock(lock)
        _fetch_all(jars, _maven(part / "cache", repository), whole, progress, stopping)
        sizes = [f"{(whole / jar.filename).stat().st_size} {jar.filename}\n" for jar in jars]
        marker = f"{_sha256(lock.encode())}\n{''.join(sizes)}"
        replace_file(whole / _COMPLETE, marker.encode(), mode=0o644, durable=True)
        # A broker that runs from an older folder has its jars open: they are moved away, then deleted.
        with contextlib.suppress(FileNotFoundError):
            folder.rename(part / "old")
        whole.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    progress.say(f"Apache Kafka {VERSION} is there after {time.monotonic() - began:.1f} s")


def _fetch_all(
    jars: list[Jar], context: Any, folder: Path, progress: Progress, stopping: Callable[[], bool]
) -> None:
    progress.at(0, len(jars))
    pool = ThreadPoolExecutor(_THREADS)
    try:
        waiting = [pool.submit(_fetch_one, context, jar, folder) for jar in jars]
        for done, future in enumerate(as_completed(waiting), 1):
            future.result()
            progress.at(done, len(jars))
            if stopping():
                raise BrokerSoftwareError(f"the fetch of Apache Kafka {VERSION} was stopped")
    except BaseException as error:
        # Whoever pressed Ctrl-C does not want to wait for a slow network.
        pool.shutdown(wait=not isinstance(error, KeyboardInterrupt), cancel_futures=True)
        raise
    pool.shutdown()


def _fetch_one(context: Any, jar: Jar, folder: Path) -> None:
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            fetched = Path(artifact.resolve())
            break
        except (OSError, RuntimeError, ValueError) as error:
            # requests' errors are OSErrors too, without a number; those with one are about the disk.
            if isinstance(error, OSError) and isinstance(error.errno, int):
                raise
            if attempt == _ATTEMPTS:
                raise BrokerSoftwareError(
                    f"{jar.filename} could not be fetched ({type(error).__name__}): check the network, or "
                    "set KAFKA_BROKERS to use a Kafka of your own"
                ) from None
            # jgo would take the part that it has written for the whole.
            artifact.cached_path.unlink(missing_ok=True)
    content = fetched.read_bytes()
    if _sha256(content) != jar.sha256:
        raise BrokerSoftwareError(
            f"{jar.filename} is not the file that workers/{LOCK.name} names (checksum differs): check for a "
            "proxy that alters downloads, or set KAFKA_BROKERS to use a Kafka of your own"
        )
    # The marker of completeness must not reach the disk before the jars.
    replace_file(folder / jar.filename, content, mode=0o644, durable=True)


def _maven(cache: Path, repository: str | None = None) -> Any:
    """Maven with a cache of our own: another's, such as ~/.m2, may hold half a jar."""
    try:
        # Only here: its import takes a quarter of a second, and most starts have nothing to fetch.
        import jgo
        from jgo.maven import MavenContext
    except ImportError:
        raise BrokerSoftwareError(
            "what fetches Apache Kafka is missing: pip install -r requirements-embedded.txt, "
            "or set KAFKA_BROKERS to use a Kafka of your own"
        ) from None
    cache.mkdir(parents=True)
    remote = {"central": repository or jgo.MAVEN_CENTRAL_URL}
    return MavenContext(repo_cache=cache, local_repos=[], remote_repos=remote)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _print(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


def _write_lock() -> None:
    endpoint = ":".join(_ENDPOINT)
    with tempfile.TemporaryDirectory() as folder:
        context = _maven(Path(folder) / "cache")
        try:
            _, needed = context.resolver.resolve([context.create_dependency(f"{endpoint}:compile")])
            found = [(jar.groupId, jar.artifactId, jar.version) for jar in needed if jar.scope != "test"]
            lines = []
            for group, artifact, version in sorted({_ENDPOINT, _LOG_BINDING, *found}):
                jar = context.project(group, artifact).at_version(version).artifact()
                lines.append(f"{_sha256(jar.resolve().read_bytes())}  {group}:{artifact}:{version}\n")
        except (OSError, RuntimeError) as error:
            raise BrokerSoftwareError(f"{endpoint} could not be resolved: {error}") from None
    lines.insert(0, f"# The jars of {endpoint}, written by: python -m workers.kafka_jars --lock\n")
    replace_file(LOCK, "".join(lines).encode(), mode=0o644)


def main() -> int:
    """Fetch unless the user has a Kafka of their own.

    Gives the exit code: 0, 1 after a line that says what to do, 2 when a setting must be changed.
    """
    parser = argparse.ArgumentParser(prog="python -m workers.kafka_jars", description=__doc__)
    parser.add_argument("--lock", action="store_true", help="rewrite the lock file")
    paths, terminal = Paths.of_project(), sys.stdout.isatty()
    try:
        if parser.parse_args().lock:
            _write_lock()
        elif settings.load(paths).kafka_is_embedded:
            kind = TerminalProgress if terminal else Progress
            fetch(paths, kind(lambda text: _print(f"kafka: {text}")))
    except ServiceError as error:
        # On a terminal the line that counts may still be open.
        sys.stderr.write(("\n" if terminal else "") + f"kafka: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        # Not sys.exit: that waits for the downloads that are on their way.
        os._exit(EXIT_INTERRUPTED)
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
