"""The embedded broker's software: Apache Kafka's jars, fetched once and checked against a lock file.

``python -m workers.kafka_jars`` fetches what is missing, with visible progress; ``--lock`` resolves the
version anew and rewrites the lock file.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared import settings
from shared.errors import BrokerSoftwareError, ServiceError
from shared.paths import Paths

VERSION = "4.3.1"
LOCK = Path(__file__).with_suffix(".lock")
_ENDPOINT = f"org.apache.kafka:kafka_2.13:{VERSION}"
# What makes Kafka's log lines appear; its own package does not lead to it. Taken by itself: resolved together
# with Kafka, log4j's list of versions would bring other ones of Kafka's own jars.
_LOG_BINDING = ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4")
_FOLDER = f"apache-kafka-{VERSION}"
_COMPLETE = "complete"
_THREADS = 6
_PROGRESS_LINES = 4


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


def read_lock(text: str) -> list[Jar]:
    """The jars of a lock file, ``<sha256>  <group>:<artifact>:<version>`` a line, ``#`` comments. Pure."""
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [Jar(checksum, *coordinates.split(":")) for checksum, coordinates in lines]


def classpath(paths: Paths) -> str:
    """Java's class path; fetches the jars first when they are missing.

    Raises BrokerSoftwareError when that fails.
    """
    return str(fetch(paths) / "*")


def fetch(paths: Paths) -> Path:
    """The folder with all jars; they are fetched when they are not there.

    It is the virtual environment's, so that every checkout that uses it shares it; where that is not
    writable, it is below ``run/kafka``. Raises BrokerSoftwareError, whose text says what to do.
    """
    places = [Path(sys.prefix) / "share" / _FOLDER, paths.kafka / _FOLDER]
    lock = LOCK.read_text()
    for folder in places:
        if _is_complete(folder, lock):
            return folder
    for folder in places:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _only_one(folder):
                if not _is_complete(folder, lock):
                    _fetch_into(folder, lock)
                return folder
        except PermissionError:
            continue
        except OSError as error:
            raise BrokerSoftwareError(
                f"Apache Kafka could not be stored in {folder.parent}: {error.strerror or error}"
            ) from None
    raise BrokerSoftwareError(f"neither {places[0].parent} nor {places[1].parent} is writable")


def _is_complete(folder: Path, lock: str) -> bool:
    try:
        return (folder / _COMPLETE).read_text() == hashlib.sha256(lock.encode()).hexdigest() and all(
            (folder / jar.filename).stat().st_size > 0 for jar in read_lock(lock)
        )
    except OSError:
        return False


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Let the processes that want to fetch into the same folder do it one after the other."""
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch_into(folder: Path, lock: str) -> None:
    jars = read_lock(lock)
    began = time.monotonic()
    _say(f"kafka: fetching Apache Kafka {VERSION} ({len(jars)} jars, about 44 MB) …")
    # What a killed predecessor has left is of no use: jgo writes jars in place.
    for left in folder.parent.glob(f".{folder.name}.part-*"):
        shutil.rmtree(left, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.part-", dir=folder.parent))
    try:
        whole = part / folder.name
        whole.mkdir()
        done = 0
        with ThreadPoolExecutor(_THREADS) as pool:
            context = _maven(part / "cache")
            waiting = [pool.submit(_fetch_one, context, jar, whole) for jar in jars]
            try:
                for future in as_completed(waiting):
                    future.result()
                    done += 1
                    _progress(done, len(jars))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        (whole / _COMPLETE).write_text(hashlib.sha256(lock.encode()).hexdigest())
        shutil.rmtree(folder, ignore_errors=True)
        whole.chmod(0o755)
        whole.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _say(f"kafka: Apache Kafka {VERSION} is there, {time.monotonic() - began:.0f} s")


def _fetch_one(context: Any, jar: Jar, folder: Path) -> None:
    try:
        artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        fetched = Path(artifact.resolve())
    except OSError as error:
        # requests' errors are OSErrors too; their text holds addresses and objects nobody can read.
        raise _no_network(jar, type(error).__name__) from None
    except RuntimeError:
        raise _no_network(jar, "not found") from None
    if hashlib.sha256(fetched.read_bytes()).hexdigest() != jar.sha256:
        raise BrokerSoftwareError(
            f"{jar.filename} is not the file that workers/kafka_jars.lock names (checksum differs): "
            "check for a proxy that alters downloads"
        )
    fetched.rename(folder / jar.filename)


def _no_network(jar: Jar, reason: str) -> BrokerSoftwareError:
    return BrokerSoftwareError(
        f"{jar.filename} could not be fetched ({reason}): check the network, or set KAFKA_BROKERS to "
        "use a Kafka of your own"
    )


def _maven(cache: Path) -> Any:
    # Only here: its import takes a quarter of a second, and most starts have nothing to fetch.
    import jgo
    from jgo.maven import MavenContext

    cache.mkdir(parents=True)
    return MavenContext(repo_cache=cache, remote_repos={"central": jgo.MAVEN_CENTRAL_URL})


def _progress(done: int, total: int) -> None:
    if sys.stdout.isatty():
        _say(f"\rkafka: {done}/{total}", end="\n" if done == total else "")
    elif done % (total // _PROGRESS_LINES) == 0:
        _say(f"kafka: {done}/{total}")


def _say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


def _write_lock() -> None:
    import jgo

    coordinates = [(one.groupId, one.artifactId, one.version) for one in jgo.resolve(_ENDPOINT)]
    with tempfile.TemporaryDirectory() as folder:
        context = _maven(Path(folder) / "cache")
        lines = []
        for group, artifact, version in (*coordinates, _LOG_BINDING):
            jar = context.project(group, artifact).at_version(version).artifact()
            checksum = hashlib.sha256(Path(jar.resolve()).read_bytes()).hexdigest()
            lines.append(f"{checksum}  {group}:{artifact}:{version}\n")
    LOCK.write_text(
        f"# The jars of {_ENDPOINT}, written by: python -m workers.kafka_jars --lock\n"
        + "".join(sorted(lines))
    )


def main() -> int:
    """Fetch unless the user has a Kafka of their own; 0, or 1 after a line that says what to do."""
    parser = argparse.ArgumentParser(prog="python -m workers.kafka_jars", description=__doc__)
    parser.add_argument("--lock", action="store_true", help="rewrite the lock file")
    if parser.parse_args().lock:
        _write_lock()
        return 0
    paths = Paths.of_project()
    try:
        if settings.load(paths).kafka_is_embedded:
            fetch(paths)
    except ServiceError as error:
        sys.stderr.write(f"kafka: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
