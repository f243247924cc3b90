"""A reader of several channels, as an object: what becomes of a channel that it has no more."""

import shutil
from pathlib import Path

import pytest

from shared import settings
from shared.paths import Paths
from shared.reader_groups import GroupFile, write_groups
from shared.record import Record
from shared.reports import ReaderReport
from shared.status_file import read_status
from workers.reader import Reader


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    paths.prepare()
    write_groups(paths.groups, {1: ("alpha", "beta")})
    return paths


def reader_of(paths: Paths) -> Reader:
    configured = settings.load(paths, {"CHANNELS_PER_READER": "2", "TWITCH_IRC_URL": "irc://127.0.0.1:1"})
    return Reader(configured, paths, "readers-1", 1, (), GroupFile(paths.groups, 1))


def left_of(paths: Paths, channel: str) -> ReaderReport | None:
    found = read_status(paths.status / f"reader-{channel}.json", ReaderReport)
    return None if found is None else found.report


def test_it_is_kept_until_what_was_read_of_it_is_durable(paths: Paths) -> None:
    reader = reader_of(paths)
    reader._handoff.put(Record("beta", "id", 1, 1, "", "", b"{}", ""))
    reader._totals["beta"].received = 1
    write_groups(paths.groups, {1: ("alpha",)})
    reader._look_after()
    assert left_of(paths, "beta") is None
    assert reader._report().channels["beta"].pending == 1
    reader._handoff._outbox.next_frame()
    reader._handoff._outbox.forget_up_to(1)
    reader._look_after()
    left = left_of(paths, "beta")
    assert left is not None
    assert left.channels["beta"].received == 1
    # The time that this took is no time out of the channel.
    assert left.channels["beta"].offline_seconds == 0.0
    assert reader._report().channels.keys() == {"alpha"}


def test_it_is_kept_while_it_cannot_be_left_to_anybody(paths: Paths) -> None:
    reader = reader_of(paths)
    reader._totals["beta"].received = 7
    shutil.rmtree(paths.status)
    write_groups(paths.groups, {1: ("alpha",)})
    reader._look_after()
    assert reader._report().channels["beta"].received == 7
    paths.status.mkdir()
    reader._look_after()
    left = left_of(paths, "beta")
    assert left is not None
    assert left.channels["beta"].received == 7
    write_groups(paths.groups, {1: ("alpha", "beta")})
    reader._look_after()
    assert reader._report().channels["beta"].received == 7


def test_one_that_is_wanted_again_before_that_goes_on(paths: Paths) -> None:
    reader = reader_of(paths)
    reader._handoff.put(Record("beta", "id", 1, 1, "", "", b"{}", ""))
    reader._totals["beta"].received = 1
    for channels in (("alpha",), ("alpha", "beta")):
        write_groups(paths.groups, {1: channels})
        reader._look_after()
    assert reader._report().channels["beta"].received == 1
    assert left_of(paths, "beta") is None


def test_what_its_last_life_knew_of_others_is_left_at_the_start(paths: Paths) -> None:
    reader = reader_of(paths)
    reader._totals["beta"].received = 7
    reader._status.finish(reader._report())
    write_groups(paths.groups, {1: ("alpha", "gamma")})
    again = reader_of(paths)
    again._status.update(again._report)
    left = left_of(paths, "beta")
    assert left is not None
    assert left.channels["beta"].received == 7
