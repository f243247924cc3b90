"""The point of `make doctor` about the service that is asked for what was missed."""

import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from commands.doctor_point import Point, Waiting, bad, good, untried
from shared.fetch_gate import FetchGate
from shared.settings import Settings
from shared.timing import Deadline
from workers.kafka_client import in_thread
from workers.recent_messages import fetch

POINT = "backfill"
ANSWER_SECONDS = 5.0
# A name server that hangs keeps no deadline.
SPARE_SECONDS = 1.0
# It answers, and has something to say about the channel.
_ANSWERS_BUT = "the service says: "
_STATUS = re.compile(r" answers (\d{3})\b")
_EXAMPLE = "https://recent-messages.robotty.de/api/v2/recent-messages"


def look(settings: Settings, channels: Sequence[str], waiting: Waiting) -> Point:
    """Whether the service answers for the first channel; some seconds where it does not."""
    url = settings.backfill_url
    if url is None:
        return untried(POINT, "BACKFILL_URL is empty: what is said while no reader is in stays missing")
    if not channels:
        return untried(POINT, "there is no channel to ask for")
    channel, host = channels[0], urlsplit(url).hostname
    with waiting(f"asking {host} for #{channel}"):
        trouble = _ask(url, channel)
    if not trouble:
        return good(POINT, f"{host} answers for #{channel}")
    if trouble.startswith(_ANSWERS_BUT):
        note = f"it says: {trouble.removeprefix(_ANSWERS_BUT)}; it enters a channel when it is first asked"
        return good(POINT, f"{host} answers for #{channel}", note)
    return bad(POINT, trouble, _remedy(trouble, channel))


def _remedy(trouble: str, channel: str) -> str:
    found = _STATUS.search(trouble)
    status = int(found[1]) if found else 0
    if status == 403:
        return f"what is missed of #{channel} cannot be had there; others may"
    if status == 429 or status >= 500:
        return "look again later: it has too much to do, or is in trouble itself"
    return (
        f"is BACKFILL_URL right? #{channel} is asked for at <BACKFILL_URL>/{channel}; one such is {_EXAMPLE}"
    )


def _ask(url: str, channel: str) -> str:
    """Ask for what was said since this moment, which is nothing; the trouble with that."""

    def ask() -> str:
        now_ms = time.time_ns() // 1_000_000
        # A gate of its own: no reader is kept waiting, and nothing is left in a fresh clone.
        with tempfile.TemporaryDirectory() as folder:
            gate = FetchGate(Path(folder) / "gate")
            return fetch(url, channel, now_ms, now_ms, gate, Deadline(ANSWER_SECONDS)).trouble

    try:
        return in_thread(ask, lambda: None).result(ANSWER_SECONDS + SPARE_SECONDS)
    except TimeoutError:
        return f"the name {urlsplit(url).hostname} is looked up for too long"
