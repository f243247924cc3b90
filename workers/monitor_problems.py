"""What is not as it should be, and what to do about it: from the facts to sentences. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from shared.overview import Problem
from shared.reports import (
    LOST_NO_TOPIC,
    LOST_NOT_STORED,
    LOST_OUTBOX,
    LOST_REFUSED,
    LOST_SPOOL_DAMAGED,
    LOST_SPOOL_FULL,
)
from shared.settings import Settings
from shared.status_file import STALE_SECONDS
from shared.supervisord import Program
from shared.token_advice import SIGN_IN_ADVICE, words_of
from workers.monitor_facts import Facts

# Programs take a moment to start, and a hundred readers a minute: Twitch allows 20 logins in 10 s.
STARTING_SECONDS = 20.0
# The time from a process's start to its first report.
NEW_SECONDS = 5.0
NAMED_AT_MOST = 5
NEARLY_FULL = 0.8
DISK_LOW_BYTES = 1024**3
# Less is what a connection made anew costs, or a restart.
GAP_SECONDS = 30.0
FIXED_PROGRAMS = ("channel-sync", "producer", "token-refresher", "watchdog", "monitor")
_WHAT_TO_DO_ABOUT_LOSSES = {
    LOST_OUTBOX: "the producer was away for too long: see logs/producer.log",
    LOST_NOT_STORED: "a reader had to stop and the spool could not be written: is the disk full?",
    LOST_SPOOL_FULL: "bring Kafka back, or raise SPOOL_MAX_BYTES",
    LOST_SPOOL_DAMAGED: "the damaged spool was moved aside: see logs/producer.log",
    LOST_REFUSED: "Kafka refuses them for what they are: see logs/producer.log",
    LOST_NO_TOPIC: "they waited when KAFKA_TOPIC_CHAT_EVENTS was emptied: nothing, if that was wanted",
}
_TOKEN_TROUBLE = {
    "refused": ("the token cannot be renewed", SIGN_IN_ADVICE),
    "invalid": ("the token is not valid", SIGN_IN_ADVICE),
    "damaged": ("the token file is damaged", f"mend it, or {SIGN_IN_ADVICE}"),
}


def problems_of(
    facts: Facts, settings: Settings, lost: Counter[tuple[str, str]], gaps: Mapping[str, float]
) -> list[Problem]:
    """All problems, the worst first.

    ``lost`` are the losses of the last ten minutes; ``gaps`` the seconds that turned out to be missing in
    them, by channel.
    """
    found = [
        *_of_supervisord(facts),
        *_of_workers(facts),
        *_of_kafka(facts),
        *_of_losses(lost),
        *_of_channels(facts),
        *_of_gaps(facts, settings, gaps),
        *_of_room(facts, settings.spool_max_bytes),
        *_of_token(facts),
    ]
    return sorted(found, key=lambda problem: problem.severity != "bad")


def not_ready(facts: Facts) -> list[str]:
    """Why the service is not ready; empty when every wanted reader is joined and Kafka accepts."""
    reasons = []
    if not facts.is_alive("channel-sync"):
        reasons.append("channel-sync does not tell which channels are wanted")
    elif not facts.sync.in_line:
        reasons.append("channel-sync has not brought the readers in line with the channel list yet")
    if not kafka_accepts(facts):
        reasons.append(f"Kafka takes no messages: {_kafka_trouble(facts)}")
    for channel in facts.sync.channels:
        for reader in facts.readers_of(channel):
            if not is_joined(facts, reader, channel):
                reasons.append(f"{reader} is not in #{channel}: {trouble_of(facts, reader, channel)}")
    return reasons


def kafka_accepts(facts: Facts) -> bool:
    """Whether the producer runs and Kafka takes what it sends."""
    return facts.is_alive("producer") and facts.producer.kafka_accepts


def is_joined(facts: Facts, reader: str, channel: str) -> bool:
    """Whether the reader runs and is in the channel."""
    report = facts.readers[reader].channels.get(channel)
    return report is not None and report.joined and facts.is_alive(reader)


def trouble_of(facts: Facts, reader: str, channel: str) -> str:
    """Why the reader is not in the channel, in words."""
    report = facts.readers[reader].channels.get(channel)
    if facts.is_alive(reader):
        return (report.trouble if report else "") or "it is on its way"
    silent = facts.silent_seconds(reader)
    if silent is not None and silent >= STALE_SECONDS:
        return f"the reader has not reported for {silent:.0f} s"
    known = (facts.programs or {}).get(reader)
    if known is None:
        return "there is no reader yet"
    if known.state == "STARTING" or (
        known.state == "RUNNING" and (known.uptime_seconds or 0.0) < NEW_SECONDS
    ):
        return "the reader is starting"
    if known.state == "STOPPED":
        return f"the reader is stopped: supervisorctl start {reader}"
    if known.state != "RUNNING":
        return f"the reader does not stay up ({known.state}): see logs/{reader}.log"
    # supervisord was asked before that.
    head = facts.heads.get(reader)
    return "the reader was stopped" if head is not None and head.stopped else "the reader has ended"


def _of_supervisord(facts: Facts) -> Iterator[Problem]:
    if facts.programs is None:
        yield Problem(
            "bad",
            "supervisord",
            "supervisord does not answer, workers that end are not restarted",
            "start the service with make run, or supervisord -c supervisord.conf",
        )


def _of_workers(facts: Facts) -> Iterator[Problem]:
    if facts.programs is None:
        return
    for name in (*FIXED_PROGRAMS, "kafka"):
        program = facts.programs.get(name)
        if program is None:
            continue
        subject = f"worker {name}"
        silent = facts.silent_seconds(name)
        if program.state == "STOPPED":
            yield Problem("bad", subject, f"{name} is stopped", f"supervisorctl start {name}")
        elif program.state not in ("RUNNING", "STARTING", "STOPPING"):
            advice = f"it is started again and again: see logs/{name}.log"
            yield Problem("bad", subject, f"{name} does not stay up ({program.state})", advice)
        elif program.state == "RUNNING" and silent is not None and silent >= STALE_SECONDS:
            text = f"{name} hangs, it has not reported for {silent:.0f} s"
            yield Problem("bad", subject, text, "the watchdog restarts it within half a minute")


def _is_new(program: Program | None) -> bool:
    return (
        program is not None
        and program.uptime_seconds is not None
        and program.uptime_seconds < STARTING_SECONDS
    )


def _of_kafka(facts: Facts) -> Iterator[Problem]:
    if kafka_accepts(facts):
        return
    # Also an embedded broker that was just started again.
    starting = any(_is_new((facts.programs or {}).get(name)) for name in ("producer", "kafka"))
    spooled = facts.producer.spooled
    text = "Kafka takes no messages" + (f", {spooled:,} wait in the spool" if spooled else "")
    yield Problem("warning" if starting and not spooled else "bad", "kafka", text, _kafka_trouble(facts))


def _kafka_trouble(facts: Facts) -> str:
    if not facts.is_alive("producer"):
        return "the producer does not run or does not report; readers keep their messages meanwhile"
    return facts.producer.trouble or (
        "the broker does not answer; messages wait in the spool and follow by themselves"
    )


def _of_losses(lost: Counter[tuple[str, str]]) -> Iterator[Problem]:
    reasons: Counter[str] = Counter()
    for (_channel, reason), count in lost.items():
        reasons[reason] += count
    for reason, count in reasons.most_common():
        channels = sorted({channel for channel, other in lost if other == reason and channel})
        of_whom = f" of {_some(channels)}" if channels else ""
        noun, verb = "event" if reason == LOST_NO_TOPIC else "message", "was" if count == 1 else "were"
        text = f"{count:,} {noun}{'s' * (count != 1)}{of_whom} {verb} lost in the last ten minutes ({reason})"
        yield Problem("bad", "messages", text, _WHAT_TO_DO_ABOUT_LOSSES.get(reason, "see the logs"))


def _of_channels(facts: Facts) -> Iterator[Problem]:
    channels = facts.sync.channels
    if not channels and facts.is_alive("channel-sync"):
        yield Problem(
            "warning", "channels", "no channel is wanted", "write a channel's login into the channel list"
        )
    out = [channel for channel in channels if not is_read(facts, channel)]
    if not out:
        return
    troubles = {channel: trouble_of(facts, facts.readers_of(channel)[0], channel) for channel in out}
    first_readers = [(facts.programs or {}).get(facts.readers_of(one)[0]) for one in out]
    # Those that supervisord does not know yet come in a moment.
    starting = facts.programs is not None and all(one is None or _is_new(one) for one in first_readers)
    waiting = all(trouble.startswith("waiting") for trouble in troubles.values())
    severity: Literal["bad", "warning"] = "warning" if starting or waiting else "bad"
    if len(out) == 1:
        yield Problem(severity, f"channel {out[0]}", f"#{out[0]} is not read", troubles[out[0]])
    else:
        text = f"{len(out)} of {len(channels)} channels are not read: {_some(out)}"
        commonest = Counter(troubles.values()).most_common(1)[0][0]
        yield Problem(severity, "channels", text, commonest)


def _of_gaps(facts: Facts, settings: Settings, gaps: Mapping[str, float]) -> Iterator[Problem]:
    """Nobody needs to be woken: what is missing is missing for good, and the channel is read again."""
    long = {channel: seconds for channel, seconds in gaps.items() if seconds >= GAP_SECONDS}
    if not long:
        return
    subject, of_whom = "messages", f"{len(long)} channels: {_some(sorted(long))}"
    words = f"up to {words_of(max(long.values()))}"
    log = "the log of each one's reader in logs/"
    if len(long) == 1:
        ((channel, seconds),) = long.items()
        subject, of_whom, words = f"channel {channel}", f"#{channel}", words_of(seconds)
        log = f"logs/{facts.readers_of(channel)[0]}.log"
    advice = []
    if settings.backfill_url:
        advice.append(f"{log} says why it could not be fetched")
    else:
        advice.append("set BACKFILL_URL to have such a time fetched afterwards")
    if settings.readers_per_channel == 1:
        advice.append("with READERS_PER_CHANNEL=2 one reader hears what the other one misses")
    yield Problem("warning", subject, f"{words} are missing for good in {of_whom}", "; ".join(advice))


def is_read(facts: Facts, channel: str) -> bool:
    """Whether one of its readers is in the channel."""
    return any(is_joined(facts, reader, channel) for reader in facts.readers_of(channel))


def _of_room(facts: Facts, max_spool_bytes: int) -> Iterator[Problem]:
    used = facts.producer.spool_bytes / max_spool_bytes
    if facts.producer.spooled and used >= NEARLY_FULL:
        yield Problem(
            "bad",
            "spool",
            f"the spool is at {used:.0%} of SPOOL_MAX_BYTES; when it is full the oldest messages are dropped",
            "bring Kafka back, or raise SPOOL_MAX_BYTES",
        )
    free = facts.disk_free_bytes
    if free is not None and free < DISK_LOW_BYTES:
        text = f"only {free // 1024**2:,} MiB are free on the disk of run/"
        yield Problem("warning", "spool", text, "make room: the spool, the logs and Kafka's data need it")


def _of_token(facts: Facts) -> Iterator[Problem]:
    token = facts.token
    if token.state in _TOKEN_TROUBLE:
        text, advice = _TOKEN_TROUBLE[token.state]
        yield Problem("bad", "token", f"{text}: readers that are in stay in, others are refused", advice)
    elif token.state in ("valid", "unchecked") and 0 < token.expires_at * 1000 < facts.time_ms:
        yield Problem("warning", "token", "the token has expired", "see logs/token-refresher.log")


def _some(names: Iterable[str]) -> str:
    shown = [f"#{name}" for name in names]
    more = len(shown) - NAMED_AT_MOST
    return ", ".join(shown[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
