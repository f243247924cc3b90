"""What people are told of kafka-python's errors."""

import pytest
from kafka import errors as kafka_errors

from workers.kafka_client import describe


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            kafka_errors.MetadataEmptyBrokerList("MetadataResponse(version=13, brokers=[], " + "x" * 500),
            "the cluster has no broker that is ready",
        ),
        (kafka_errors.KafkaTimeoutError("no answer\n for 4 s"), "KafkaTimeoutError: no answer for 4 s"),
        (OSError("gone"), "OSError: gone"),
    ],
)
def test_an_error_is_one_short_line(error: BaseException, text: str) -> None:
    assert describe(error) == text
