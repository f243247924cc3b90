"""Minutes of chat with faults, against the real supervisord and the embedded Kafka; then the count.

``python -m tests.soak --minutes 10``: exit status 0 when nothing is lost, doubled or out of order, else 1 and
the service's folder is kept.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.fakes.fake_twitch import FakeTwitch
from tests.processes.conftest import free_port
from tests.processes.service import Service
from tests.soak.faults import FAULTS, Fault
from tests.soak.ledger import Ledger, Verdict
from tests.soak.run import Run
from tests.soak.stage import Stage
from tests.soak.table import fault_table, problem_lines, verdict_table, worker_table
from tests.soak.topic import TopicNumbers

TOPIC = "soak"
# A client that reads nothing for so long is dropped; it must not keep its sibling waiting.
SLOW_READER_SECONDS = 5.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description="Chat with faults for a while, then count every message."
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the chat lasts (10)")
    parser.add_argument("--channels", type=int, default=20, help="how many channels (20)")
    parser.add_argument("--per-second", type=float, default=20.0, help="messages a second and channel (20)")
    parser.add_argument("--readers-per-channel", type=int, default=2, choices=(1, 2), help="(2)")
    parser.add_argument("--channels-per-reader", type=int, default=1, help="(1)")
    parser.add_argument("--seed", type=int, help="of the choice of faults; default: another each time")
    parser.add_argument("--no-faults", action="store_true", help="chat only")
    parser.add_argument("--only", metavar="TEXT", action="append", help="only faults with this in their name")
    return parser.parse_args()


def _faults(arguments: argparse.Namespace) -> tuple[Fault, ...]:
    if arguments.no_faults:
        return ()
    wanted = arguments.only or [""]
    found = tuple(fault for fault in FAULTS if any(text in fault.name for text in wanted))
    if not found:
        raise SystemExit(f"no such fault; there are: {', '.join(fault.name for fault in FAULTS)}")
    return found


def _service(arguments: argparse.Namespace, folder: Path, twitch: FakeTwitch, port: int) -> Service:
    return Service(
        folder,
        TWITCH_IRC_URL=twitch.url,
        EMBEDDED_KAFKA_PORT=str(port),
        KAFKA_TOPIC_CHAT_MESSAGES=TOPIC,
        KAFKA_TOPIC_RETENTION_MS="-1",
        READERS_PER_CHANNEL=str(arguments.readers_per_channel),
        CHANNELS_PER_READER=str(arguments.channels_per_reader),
        MONITOR_PORT=str(free_port()),
    )


def _soak(arguments: argparse.Namespace, folder: Path, twitch: FakeTwitch, seed: int) -> bool:
    port = free_port()
    service = _service(arguments, folder, twitch, port)
    channels = tuple(f"soak{number:03}" for number in range(1, arguments.channels + 1))
    stage = Stage(
        service, twitch, Ledger(channels), channels, arguments.readers_per_channel, random.Random(seed)
    )
    run = Run(stage, _faults(arguments), arguments.minutes * 60, arguments.per_second)
    topic = TopicNumbers(f"127.0.0.1:{port}", TOPIC)
    try:
        run.start()
        print(f"chat begins; the service is in {folder}", flush=True)
        run.chat()
        print("chat is over; waiting until everything is in Kafka", flush=True)
        verdict = run.settle(topic)
        _report(arguments, run, verdict, topic, seed)
    finally:
        topic.close()
        service.end()
    return verdict.good and not topic.strangers


def _report(
    arguments: argparse.Namespace, run: Run, verdict: Verdict, topic: TopicNumbers, seed: int
) -> None:
    stage = run.stage
    print(
        f"\n{arguments.minutes:g} minutes, {arguments.channels} channels with {arguments.per_second:g} "
        f"messages/s each, {arguments.readers_per_channel} reader(s) per channel, "
        f"{arguments.channels_per_reader} channel(s) per reader, seed {seed}; the last message "
        f"was in Kafka {run.settled_seconds:.0f} s after the end of the chat.\n"
    )
    print(verdict_table(verdict), "\n")
    print(fault_table(stage.ledger.happened), "\n")
    print(worker_table(run.early, run.late), "\n")
    for note, count in sorted(stage.notes.items()):
        print(f"note: {note} ({count})")
    if stage.twitch.violations:
        print(
            f"note: over Twitch's limits {len(stage.twitch.violations)} times: {stage.twitch.violations[0]}"
        )
    for stranger in topic.strangers:
        print(f"in the topic, sent by nobody: {stranger}")
    print("\n".join(problem_lines(verdict, stage.ledger, run.began)))


def main() -> int:
    """Run it; the exit status."""
    arguments = _arguments()
    _faults(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = time.time_ns() % 1_000_000 if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    good = False
    try:
        with FakeTwitch() as twitch:
            twitch.behaviour.slow_reader_seconds = SLOW_READER_SECONDS
            good = _soak(arguments, folder, twitch, seed)
    finally:
        if good:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"the service's folder is kept: {folder}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
