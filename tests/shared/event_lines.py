"""Lines of Twitch: one or more for every event, and those of a busy channel."""

import gzip
from pathlib import Path

from commands.event_page import Example, read_examples
from shared.irc_line import IrcLine, parse_line

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT.parent / "shared" / "data" / "xqcow-2019-09-15.irc.gz"
EXAMPLES: list[Example] = read_examples(ROOT / "docs" / "event-examples.txt")
NOW_MS = 1_700_000_000_000


def parts(line: bytes | str) -> IrcLine:
    found = parse_line(line if isinstance(line, bytes) else line.encode())
    assert found is not None
    return found


def example_lines() -> list[IrcLine]:
    return [parts(example.line) for example in EXAMPLES]


def sample_lines() -> list[IrcLine]:
    """Real chat; empty where the sample is not there."""
    if not SAMPLE.exists():
        return []
    raw = gzip.decompress(SAMPLE.read_bytes()).split(b"\n")
    return [parts(line.removesuffix(b"\r")) for line in raw if line]
