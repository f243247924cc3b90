"""A session over real connections to a fake Twitch, in a loop as the reader's."""

import selectors
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared import settings
from shared.paths import Paths
from shared.waker import Waker
from tests.fakes.fake_twitch import FakeTwitch
from workers.twitch_connection import TwitchConnection
from workers.twitch_session import SessionListener, TwitchSession

WAIT_SECONDS = 15.0


class SessionLoop(SessionListener):
    """Keeps ``told``: which channels were come into and left, in order; and ``heard``: what was said."""

    def __init__(self, folder: Path, url: str, *wanted: str) -> None:
        paths = Paths(folder)
        paths.prepare()
        self.told: list[tuple[str, str]] = []
        self.heard: list[str] = []
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._selector.register(self._waker, selectors.EVENT_READ)
        self.session = TwitchSession(
            settings.load(paths, {"TWITCH_IRC_URL": url}),
            paths,
            wanted,
            self,
            lambda line, _received_ms: self.heard.append(line.params[-1]),
            self._waker.wake,
        )

    def on_in(self, channel: str) -> None:
        self.told.append(("in", channel))

    def on_out(self, channel: str, heard_ms: int) -> None:
        self.told.append(("out", channel))

    def run_until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < end, f"the condition did not come true: {self.told}"
            wait = self.session.go_on()
            self.session.watch(self._selector)
            for key, _events in self._selector.select(min(wait, 0.02)):
                if isinstance(key.data, TwitchConnection):
                    key.data.on_readable()
                else:
                    self._waker.clear()
                    self.session.on_wake()

    def close(self) -> None:
        self.session.close()
        self._selector.close()


@pytest.fixture
def twitch() -> Iterator[FakeTwitch]:
    with FakeTwitch() as twitch:
        yield twitch


def test_a_channel_that_only_the_new_connection_was_in_is_left_with_it(
    tmp_path: Path, twitch: FakeTwitch
) -> None:
    loop = SessionLoop(tmp_path, twitch.url, "alpha", "beta")
    loop.run_until(lambda: sorted(loop.told) == [("in", "alpha"), ("in", "beta")])
    twitch.suspend("beta", part=True)
    loop.run_until(lambda: loop.told[2:] == [("out", "beta")])
    twitch.reopen("beta")
    # So the old connection is not left for the new one.
    twitch.behaviour.mute_channels.add("alpha")
    twitch.reconnect()
    loop.run_until(lambda: loop.told[3:] == [("in", "beta")])
    # The fake knows it only once its answer is on the way.
    twitch.wait_joined("beta")
    (new,) = twitch.in_channel("beta")
    twitch.close_connection(new.number)
    loop.run_until(lambda: loop.told[4:] == [("out", "beta")])
    assert loop.session.joined == {"alpha"}
    loop.run_until(lambda: loop.told[5:] == [("in", "beta")])
    loop.close()


def test_an_old_connection_that_has_no_last_words_leaves_a_hole_that_is_told(
    tmp_path: Path, twitch: FakeTwitch
) -> None:
    loop = SessionLoop(tmp_path, twitch.url, "alpha")
    loop.run_until(lambda: loop.told == [("in", "alpha")])
    twitch.wait_joined("alpha")
    (old,) = twitch.in_channel("alpha")
    twitch.reconnect()
    twitch.freeze_connection(old.number)
    loop.run_until(lambda: len(loop.told) == 3)
    assert loop.told[1:] == [("out", "alpha"), ("in", "alpha")]
    assert loop.session.joined == {"alpha"}
    assert loop.session.heard_ms("alpha") > 0
    loop.close()


def test_one_that_has_them_leaves_none(tmp_path: Path, twitch: FakeTwitch) -> None:
    loop = SessionLoop(tmp_path, twitch.url, "alpha")
    loop.run_until(lambda: loop.told == [("in", "alpha")])
    twitch.wait_joined("alpha")
    (old,) = twitch.in_channel("alpha")
    twitch.reconnect()
    loop.run_until(lambda: [one.number for one in twitch.in_channel("alpha")] not in ([old.number], []))
    loop.run_until(lambda: len(twitch.in_channel("alpha")) == 1)
    assert loop.told == [("in", "alpha")]
    loop.close()


def test_other_channels_come_and_go_over_the_same_connection(tmp_path: Path, twitch: FakeTwitch) -> None:
    loop = SessionLoop(tmp_path, twitch.url, "alpha", "beta")
    loop.run_until(lambda: len(loop.told) == 2)
    loop.session.want({"alpha", "gamma"})
    assert loop.told[2:] == [("out", "beta")]
    loop.run_until(lambda: loop.told[3:] == [("in", "gamma")])
    twitch.wait_left("beta")
    twitch.wait_joined("gamma")
    for channel in ("alpha", "gamma"):
        twitch.chat(channel, f"to {channel}")
    loop.run_until(lambda: loop.heard[-1:] == ["to gamma"])
    assert "to alpha" in loop.heard
    assert len(twitch.logins) == 1
    assert [join.channel for join in twitch.joins].count("alpha") == 1
    loop.close()


def test_what_is_said_after_a_channel_was_left_is_not_told(tmp_path: Path, twitch: FakeTwitch) -> None:
    loop = SessionLoop(tmp_path, twitch.url, "alpha", "beta")
    loop.run_until(lambda: len(loop.told) == 2)
    twitch.wait_joined("beta")
    # It lies here already when the channel is left, and Twitch answers after it.
    twitch.chat("beta", "too late")
    twitch.send("beta", "@emote-only=1 :tmi.twitch.tv ROOMSTATE #beta")
    loop.session.want({"alpha"})
    twitch.wait_left("beta")
    twitch.chat("alpha", "the end")
    loop.run_until(lambda: loop.heard[-1:] == ["the end"])
    assert "too late" not in loop.heard
    assert loop.session.joined == {"alpha"}
    assert loop.told[2:] == [("out", "beta")]
    loop.close()


def test_a_channel_that_is_wanted_again_at_once_is_joined_again(tmp_path: Path, twitch: FakeTwitch) -> None:
    loop = SessionLoop(tmp_path, twitch.url, "alpha", "beta")
    loop.run_until(lambda: len(loop.told) == 2)
    loop.session.want({"alpha"})
    loop.session.want({"alpha", "beta"})
    loop.run_until(lambda: loop.told[2:] == [("out", "beta"), ("in", "beta")])
    assert loop.session.trouble_of("beta") == ""
    twitch.wait_joined("beta")
    twitch.chat("beta", "again")
    loop.run_until(lambda: loop.heard[-1:] == ["again"])
    loop.close()


def test_one_that_has_not_answered_yet_is_left_when_it_does(tmp_path: Path, twitch: FakeTwitch) -> None:
    loop = SessionLoop(tmp_path, twitch.url, "alpha", "beta")
    twitch.behaviour.mute_channels.add("beta")
    loop.run_until(lambda: "beta" in [join.channel for join in twitch.joins] and len(loop.told) == 1)
    loop.session.want({"alpha"})
    # As if Twitch had been slow.
    twitch.send("alpha", f":{twitch.logins[0].nick}!x@x.tmi.twitch.tv JOIN #beta")
    twitch.chat("alpha", "the end")
    loop.run_until(lambda: loop.heard[-1:] == ["the end"])
    twitch.wait_for(lambda: [part.channel for part in twitch.parts].count("beta") == 2)
    assert loop.session.joined == {"alpha"}
    assert loop.told == [("in", "alpha")]
    loop.close()


def test_an_old_connection_is_not_kept_for_a_channel_that_is_wanted_no_more(
    tmp_path: Path, twitch: FakeTwitch
) -> None:
    loop = SessionLoop(tmp_path, twitch.url, "alpha", "beta")
    loop.run_until(lambda: len(loop.told) == 2)
    twitch.wait_joined("alpha")
    twitch.wait_joined("beta")
    (old,) = twitch.in_channel("alpha")
    twitch.behaviour.mute_channels.add("beta")
    twitch.reconnect()
    loop.run_until(lambda: len(twitch.in_channel("alpha")) == 2)
    loop.session.want({"alpha"})
    loop.run_until(lambda: [one.number for one in twitch.in_channel("alpha")] not in ([old.number], []))
    loop.run_until(lambda: not loop.session.is_moving)
    assert loop.session.joined == {"alpha"}
    loop.close()
