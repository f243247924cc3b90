"""Takes the README's pictures of the page.

``python -m tests.pictures --channels 20 --minutes 11 --into docs``. The service is a real one with its own
Kafka; only Twitch is the fake one, with channels that are busy to a different degree.
"""

import argparse
import itertools
import math
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.commands.browser import DESKTOP, PHONE, TABLET, Browser
from tests.fakes.fake_twitch import FakeTwitch, chat_line
from tests.processes.service import Service, free_port
from tests.processes.test_monitor import Watcher

NAMES = (
    *("northernlights", "pixel_harbor", "chessbrew", "midnight_speedrun", "tinyforge", "lofi_lagoon"),
    *("kaffeeklatsch", "orbital_mike", "the_knitting_pit", "deepdive_dana", "retro_rosa", "gravelroad"),
    *("spreadsheet_sam", "fermata", "cloudwatcher7", "boulder_bea", "quietcorner", "late_train"),
    *("sourdough_sid", "zero_g_garden"),
)
BUSIEST_PER_SECOND = 24.0
SECONDS_OF_ONE_RATE = 10.0


def names(count: int) -> list[str]:
    return [*NAMES, *(f"channel_{number:03}" for number in range(count))][:count]


def chat(channel: str, place: int) -> Iterator[tuple[list[bytes], float]]:
    """Lines and how many of them a second: a rate that comes and goes, slower in later places."""
    base = BUSIEST_PER_SECOND / (1 + place) ** 0.9
    for turn in itertools.count():
        swing = 1.0 + 0.6 * math.sin(turn / (5 + place % 7) + place) + 0.4 * math.sin(turn * 1.7 + place * 3)
        rate = max(0.1, base * swing)
        count = max(1, round(rate * SECONDS_OF_ONE_RATE))
        yield [chat_line(channel, f"message {turn}-{number}") for number in range(count)], rate


def keep_talking(twitch: FakeTwitch, channels: list[str], until: threading.Event) -> None:
    talks = [chat(channel, place) for place, channel in enumerate(channels)]
    while not until.is_set():
        playing = []
        for channel, talk in zip(channels, talks, strict=True):
            lines, rate = next(talk)
            playing.append(twitch.start_playing(channel, lines, rate))
        for one in playing:
            one.result(120)


def take(service: Service, folder: Path, prefix: str) -> None:
    for look, size in (("wide", DESKTOP), ("tablet", TABLET), ("phone", PHONE)):
        for scheme in ("light", "dark"):
            with (
                tempfile.TemporaryDirectory() as profile,
                Browser(Path(profile), size, scheme == "dark", scripts=True) as browser,
            ):
                browser.open(service.monitor)
                browser.wait_for("document.querySelectorAll('[data-channel]').length > 0")
                # Two looks, so that there is a rate of the last seconds.
                browser.wait_for("document.querySelector('[data-total=per_second]').dataset.value !== ''")
                browser.screenshot(folder / f"{prefix}-{look}-{scheme}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--channels", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=11.0, help="of chat before the pictures are taken")
    parser.add_argument("--into", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    channels = names(arguments.channels)
    arguments.into.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder, FakeTwitch() as twitch:
        service = Service(Path(folder), TWITCH_IRC_URL=twitch.url, EMBEDDED_KAFKA_PORT=str(free_port()))
        service.set_channels(*channels)
        try:
            service.start()
            for channel in channels:
                twitch.wait_joined(channel, timeout=600)
            Watcher(service).wait_ready()
            enough = threading.Event()
            talking = threading.Thread(target=keep_talking, args=(twitch, channels, enough))
            talking.start()
            try:
                time.sleep(arguments.minutes * 60)
                take(service, arguments.into, f"page-{arguments.channels}")
            finally:
                enough.set()
                talking.join()
            service.shut_down()
        finally:
            service.end()


if __name__ == "__main__":
    main()
