"""The faults. Each picks its target, does its harm, has it undone later, and gives the target's name.

None of them, and no two together, makes a loss right when channels have two readers, except supervisord's
end: a channel of which a connection or a reader is away is left alone until it has its two again, and while
no producer takes messages in, each channel has one such fault at most.
"""

import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass

from tests.soak.outage import kill_supervisord, may_kill_supervisord
from tests.soak.stage import Stage
from tests.soak.workers import SupervisordAway

# A frozen connection is given up by its reader after 10 s; nobody is left to close it on this side.
FROZEN_SECONDS = 25.0
# Twitch gives about that long between its RECONNECT and the end of the connection.
RECONNECT_SECONDS = 20.0
VISITOR = "visitor"
JUNK = (
    b"\xff\xfe\xfd\x00\x01",
    b"@",
    b"@id=never-1;emotes",
    b":",
    b": PRIVMSG",
    b"PRIVMSG",
    b"@id=never-2 :a!a@a PRIVMSG #nobody",
    b"PING",
    b"JOIN",
    b"\r\r",
    b"",
    b"x" * 100_000,
    b"@id=" + b"x" * 100_000,
)


def _always(_stage: Stage) -> bool:
    return True


@dataclass(frozen=True)
class Fault:
    """``act`` gives the target's name, None when it could do nothing after all."""

    name: str
    weight: int
    act: Callable[[Stage], str | None]
    when: Callable[[Stage], bool] = _always


def _some_channel(stage: Stage) -> bool:
    return bool(stage.ready_channels())


def _free(name: str) -> Callable[[Stage], bool]:
    return lambda stage: name not in stage.busy


def _signal_reader(stage: Stage, number: signal.Signals) -> str | None:
    channel = stage.chance.choice(stage.ready_channels())
    program = stage.a_reader(channel)
    windows = stage.away(channel)
    if not stage.signal(program, number):
        stage.was_there(windows)
        return None
    return program


def may_lose_a_reader(stage: Stage) -> bool:
    """The only reader of a channel takes with it what no producer has taken in."""
    return _some_channel(stage) and (stage.readers > 1 or stage.producer.away_since is None)


def kill_reader(stage: Stage) -> str | None:
    return _signal_reader(stage, signal.SIGKILL)


def hang_reader(stage: Stage) -> str | None:
    return _signal_reader(stage, signal.SIGSTOP)


def kill_producer(stage: Stage) -> str | None:
    return "producer" if stage.signal("producer", signal.SIGKILL) else None


def hang_producer(stage: Stage) -> str | None:
    return "producer" if stage.signal("producer", signal.SIGSTOP) else None


def producer_runs(stage: Stage) -> bool:
    return all(hung.program != "producer" for hung in stage.hung)


def kill_channel_sync(stage: Stage) -> str | None:
    return "channel-sync" if stage.signal("channel-sync", signal.SIGKILL) else None


def kill_broker(stage: Stage) -> str | None:
    return "kafka" if stage.signal("kafka", signal.SIGKILL) else None


def hang_broker(stage: Stage) -> str | None:
    seconds = stage.chance.uniform(1, 10)

    def undo() -> None:
        stage.wake_hung("kafka")
        stage.busy.discard("broker")

    if not stage.signal("kafka", signal.SIGSTOP):
        return None
    stage.busy.add("broker")
    stage.later(seconds, undo)
    return f"kafka, {seconds:.0f} s"


def stop_broker(stage: Stage) -> str | None:
    seconds = stage.chance.uniform(5, 15)
    if stage.supervisor.states().get("kafka") != "RUNNING":
        return None
    try:
        stage.supervisor.call("stopProcess", "kafka", False)
    except SupervisordAway:
        return None
    stage.busy.add("broker")
    stage.later(seconds, lambda: _start_broker(stage))
    return f"kafka, {seconds:.0f} s"


def _start_broker(stage: Stage) -> None:
    # An order to start while it still stops is taken and forgotten: ask again until it has come.
    state = stage.supervisor.states().get("kafka")
    if state in ("STARTING", "RUNNING"):
        stage.busy.discard("broker")
        return
    if state != "STOPPING":
        with contextlib.suppress(SupervisordAway):
            stage.supervisor.call("startProcess", "kafka", False)
    stage.later(0.5, lambda: _start_broker(stage))


def announce_reconnect(stage: Stage) -> str | None:
    ready = stage.ready_channels()
    channels = stage.chance.sample(ready, stage.chance.randint(1, min(5, len(ready))))
    for channel in channels:
        stage.hold(channel, RECONNECT_SECONDS + 2)
        stage.twitch.reconnect(close_after=RECONNECT_SECONDS, channel=channel)
    return ", ".join(channels)


def _end_connection(stage: Stage, reset: bool) -> str | None:
    channel = stage.chance.choice(stage.ready_channels())
    connection = stage.a_connection(channel)
    if connection is None:
        return None
    stage.away(channel)
    stage.twitch.close_connection(connection.number, reset=reset)
    return f"{channel}, connection {connection.number}"


def close_connection(stage: Stage) -> str | None:
    return _end_connection(stage, reset=False)


def reset_connection(stage: Stage) -> str | None:
    return _end_connection(stage, reset=True)


def refuse_logins(stage: Stage) -> str | None:
    times = stage.chance.randint(1, 2)

    def undo() -> None:
        stage.twitch.refuse_logins(0)
        stage.busy.discard("logins")

    stage.busy.add("logins")
    stage.later(10, undo)
    stage.twitch.refuse_logins(times)
    # Nobody would log in otherwise.
    target = _end_connection(stage, reset=True)
    return f"{times} times, {target}"


def freeze_connection(stage: Stage) -> str | None:
    channel = stage.chance.choice(stage.ready_channels())
    connection = stage.a_connection(channel)
    if connection is None:
        return None
    number = connection.number
    stage.away(channel)
    stage.twitch.freeze_connection(number)
    stage.later(FROZEN_SECONDS, lambda: stage.twitch.close_connection(number))
    return f"{channel}, connection {number}"


def leave_out_some(stage: Stage) -> str | None:
    channel = stage.chance.choice(stage.ready_channels())
    connection = stage.a_connection(channel)
    if connection is None:
        return None
    nth, seconds = stage.chance.randint(2, 5), stage.chance.uniform(4, 10)
    number = connection.number
    stage.hold(channel, seconds + 2)
    stage.twitch.drop_every(nth, number)
    stage.later(seconds, lambda: stage.twitch.drop_every(0, number))
    return f"{channel}, connection {number}, 1 in {nth}, {seconds:.0f} s"


def two_readers(stage: Stage) -> bool:
    return stage.readers > 1 and _some_channel(stage)


def say_twice(stage: Stage) -> str | None:
    seconds = stage.chance.uniform(3, 10)

    def undo() -> None:
        stage.twitch.behaviour.duplicates = False
        stage.busy.discard("twice")

    stage.busy.add("twice")
    stage.twitch.behaviour.duplicates = True
    stage.later(seconds, undo)
    return f"all channels, {seconds:.0f} s"


def send_junk(stage: Stage) -> str | None:
    channel = stage.chance.choice(stage.ready_channels())
    lines = stage.chance.sample(JUNK, 6)
    # In one piece: half a line without its end would make the next message a part of it.
    stage.twitch.send_raw(b"".join(line + b"\r\n" for line in lines), channel)
    return channel


def edit_channels(stage: Stage) -> str | None:
    seconds = stage.chance.uniform(5, 15)

    def undo() -> None:
        stage.service.set_channels(*stage.channels)
        stage.busy.discard("channels")

    stage.busy.add("channels")
    stage.service.set_channels(*stage.channels, VISITOR)
    stage.later(seconds, undo)
    return f"{VISITOR} comes for {seconds:.0f} s"


FAULTS = (
    Fault("reader killed", 5, kill_reader, may_lose_a_reader),
    Fault("reader hung (SIGSTOP)", 2, hang_reader, may_lose_a_reader),
    Fault("producer killed", 4, kill_producer),
    Fault("producer hung (SIGSTOP)", 1, hang_producer, producer_runs),
    Fault("Kafka killed", 2, kill_broker, _free("broker")),
    Fault("Kafka hung (SIGSTOP)", 2, hang_broker, _free("broker")),
    Fault("Kafka stopped and started", 2, stop_broker, _free("broker")),
    Fault("channel-sync killed", 1, kill_channel_sync),
    Fault("supervisord killed", 2, kill_supervisord, may_kill_supervisord),
    Fault("channels.txt edited", 1, edit_channels, _free("channels")),
    Fault("Twitch's RECONNECT", 3, announce_reconnect, _some_channel),
    Fault("connection closed", 2, close_connection, _some_channel),
    Fault("connection reset", 2, reset_connection, _some_channel),
    Fault("connection frozen", 2, freeze_connection, _some_channel),
    Fault("logins refused", 2, refuse_logins, lambda stage: _some_channel(stage) and _free("logins")(stage)),
    Fault("some messages on one connection only", 3, leave_out_some, two_readers),
    Fault("everything sent twice", 2, say_twice, _free("twice")),
    Fault("junk lines", 2, send_junk, _some_channel),
)
