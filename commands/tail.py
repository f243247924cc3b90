"""``make tail``: show the messages, or all events, as they arrive in Kafka.

``python -m commands.tail [--events]``. Exit codes: 0 it was ended, or all that was asked for was shown; 1
Kafka could not be reached at the start, or the output cannot be written; 2 a setting or an argument must be
changed.
"""

import argparse
import codecs
import logging
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console

from commands.tail_events import EventLines
from commands.tail_kind import Kind, kind_of
from commands.tail_lines import JsonLines, TextLines
from shared import settings
from shared.channel_list import LOGIN
from shared.errors import EXIT_FAILED, KafkaUnavailable, ServiceError
from shared.paths import Paths
from shared.settings import Settings
from shared.timing import Deadline

if TYPE_CHECKING:
    from workers.kafka_follow import Record

# Two attempts; the second one ends a little later.
FIRST_CONTACT_SECONDS = 8.0
PAUSE_SECONDS = 0.5
# Nothing to show for so long: say what is waited for.
QUIET_SECONDS = 1.0
OUTPUT = 1


class Waiting:
    """Tells on standard error what is waited for, each thing once."""

    def __init__(
        self, configured: Settings, kind: Kind, channels: Iterable[str], from_beginning: bool
    ) -> None:
        self._settings = configured
        self._topic = kind.topic
        names = " or ".join(f"#{channel}" for channel in sorted(channels))
        self._message = f"{kind.noun} of {names}" if names else kind.noun
        self._from_beginning = from_beginning
        self._first_contact: Deadline | None = Deadline(FIRST_CONTACT_SECONDS)
        self._in_trouble = False
        self._quiet: Deadline | None = Deadline(QUIET_SECONDS)
        self._missing_topic_told = False

    def no_answer(self, error: KafkaUnavailable) -> None:
        """Kafka cannot be used. Raises KafkaUnavailable when it never could and that for too long."""
        if self._first_contact is not None and self._first_contact.passed():
            start = "; is the service running? make run" if self._settings.kafka_is_embedded else ""
            raise KafkaUnavailable(f"{error}{start}")
        if not self._in_trouble:
            say(f"{error}; trying on")
        self._in_trouble = True

    def answer(self, topic_exists: bool) -> None:
        """Kafka can be used, and has the topic or not."""
        if self._first_contact is not None:
            self._first_contact = None
            self._quiet = Deadline(QUIET_SECONDS)
        if self._in_trouble:
            say("Kafka answers again")
        self._in_trouble = False
        if not topic_exists and not self._missing_topic_told:
            say(
                f"waiting for topic {self._topic}: it does not exist yet, the service makes it when it starts"
            )
            self._missing_topic_told = True
            self._quiet = None

    def shown(self, count: int) -> None:
        """So many messages were shown now."""
        if count:
            self._quiet = None
        elif self._quiet is not None and self._quiet.passed():
            self._quiet = None
            topic, message = self._topic, self._message
            if self._from_beginning:
                say(f"waiting for topic {topic}: no {message} has arrived yet")
            else:
                say(
                    f"waiting for topic {topic}: no new {message} has arrived yet; older ones are shown with "
                    "--from-beginning"
                )


class Selection:
    """Which records are shown, as lines."""

    def __init__(self, kind: Kind, line: Callable[[Any, bytes], bytes], channels: frozenset[str]) -> None:
        self._kind = kind
        self._line = line
        self._channels = channels
        self._foreign_told = False

    def lines(self, records: Iterable["Record"]) -> list[bytes]:
        """In the order of the records, without those of other channels and what does not belong there."""
        found = []
        for record in records:
            value = record.value or b""
            try:
                read = self._kind.read(value)
            # The second one is of JSON that is nested too deep.
            except (ValueError, RecursionError):
                self._tell_foreign(record)
                continue
            if not self._channels or self._kind.channel_of(read) in self._channels:
                found.append(self._line(read, value))
        return found

    def _tell_foreign(self, record: "Record") -> None:
        if not self._foreign_told:
            say(
                f"left out: the record at partition {record.partition}, offset {record.offset} "
                f"{self._kind.foreign}; others like it are left out without a word"
            )
        self._foreign_told = True


def tail(configured: Settings, arguments: argparse.Namespace) -> None:
    """Show what comes until the limit is reached.

    Raises SettingsError, KafkaUnavailable, and OSError of the output.
    """
    kind = kind_of(configured, arguments.events)
    # Here, so that Ctrl-C while it loads is no traceback.
    from workers.kafka_follow import KafkaFollower

    channels = frozenset(arguments.channel)
    follower = KafkaFollower(configured, kind.topic, arguments.from_beginning)
    waiting = Waiting(configured, kind, channels, arguments.from_beginning)
    selection = Selection(kind, lines_for_output(kind, arguments.json).line, channels)
    left: int | None = arguments.limit
    while left is None or left > 0:
        stop_if_closed()
        try:
            records = follower.poll()
        except KafkaUnavailable as error:
            waiting.no_answer(error)
            time.sleep(PAUSE_SECONDS)
            continue
        waiting.answer(follower.topic_exists)
        lines = selection.lines(records)[:left]
        write(b"".join(lines))
        waiting.shown(len(lines))
        left = None if left is None else left - len(lines)


def lines_for_output(kind: Kind, as_json: bool) -> TextLines | EventLines | JsonLines:
    """Those that fit standard output."""
    utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
    if as_json:
        return JsonLines(os.isatty(OUTPUT), utf8)
    return kind.lines(Console(highlight=False), utf8)


def write(data: bytes) -> None:
    """At once: a buffer would have to be emptied at the end, into a pipe that may be full."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(OUTPUT, rest) :]


def stop_if_closed() -> None:
    """Raise BrokenPipeError when nobody reads any more; a write notices it with the next message only."""
    output = select.poll()
    output.register(OUTPUT, 0)
    if any(event & select.POLLERR for _, event in output.poll(0)):
        raise BrokenPipeError


def say(text: str) -> None:
    """A line for the user, beside the output."""
    print(f"tail: {text}", file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    """What the user asked for; ends the process where that is not possible."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.tail",
        description="Show the messages as they arrive in Kafka, until Ctrl-C.",
        epilog="With make: make tail ARGS='--channel xqc --limit 10'. Messages of a channel come in order; "
        "those of several channels as Kafka gives them. Colours are left out where NO_COLOR is set.",
    )
    parser.add_argument(
        "--channel",
        type=_logins,
        action="extend",
        default=[],
        metavar="LOGIN",
        help="only this channel; several separated by commas, or by giving the option again",
    )
    parser.add_argument(
        "--from-beginning", action="store_true", help="begin with the oldest message that Kafka has"
    )
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON each, exactly as it is in Kafka, for programs"
    )
    parser.add_argument("--limit", type=_count, metavar="N", help="end after N messages")
    parser.add_argument(
        "--events",
        action="store_true",
        help="show the events of KAFKA_TOPIC_CHAT_EVENTS (see docs/events.md) instead of messages; the other "
        "options mean events then",
    )
    return parser.parse_args()


def _logins(text: str) -> list[str]:
    logins = [part.strip().removeprefix("#").lower() for part in text.split(",") if part.strip()]
    if not logins or not text.isascii() or not all(LOGIN.fullmatch(login) for login in logins):
        raise argparse.ArgumentTypeError(f"{text!r} is no channel login (1 to 25 of a-z, 0-9, _)")
    return logins


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,17}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of messages: 1 or more")
    return int(text)


def main() -> int:
    """Run the command; gives the exit code."""
    # A shell that starts the command in the background has SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    # What kafka-python has to say about outages is said here, in one line each.
    logging.getLogger("kafka").setLevel(logging.CRITICAL + 1)
    try:
        arguments = parse_arguments()
        configured = settings.load(Paths.of_project())
        for warning in configured.warnings:
            say(warning)
        tail(configured, arguments)
    except (KeyboardInterrupt, BrokenPipeError):
        # The user has ended it, or `head` has seen enough.
        pass
    except ServiceError as error:
        say(str(error))
        return error.exit_code
    except OSError as error:
        say(f"the output cannot be written: {error.strerror or error}")
        return EXIT_FAILED
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    return 0


if __name__ == "__main__":
    sys.exit(main())
