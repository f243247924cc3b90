import multiprocessing
from pathlib import Path

from shared.login_gate import LIMIT, WINDOW_SECONDS, LoginGate


def most_in_a_window(places: list[float], seconds: float = 10.0) -> int:
    return max(sum(start <= place < start + seconds for place in places) for start in places)


def test_the_first_twenty_pass_at_once_and_the_next_waits_for_the_window(tmp_path: Path) -> None:
    gate = LoginGate(tmp_path / "gate", clock=lambda: 100.0)
    places = [gate.reserve("login") for _ in range(LIMIT + 1)]
    assert places[:LIMIT] == [100.0] * LIMIT
    assert places[LIMIT] == 100.0 + WINDOW_SECONDS


def test_no_ten_seconds_hold_more_than_twenty_whoever_asks_when(tmp_path: Path) -> None:
    now = [0.0]
    gate = LoginGate(tmp_path / "gate", clock=lambda: now[0])
    places = []
    for number in range(300):
        now[0] += (number * 7919 % 97) / 100
        places.append(gate.reserve("login"))
    assert most_in_a_window(places) <= LIMIT


def test_places_that_are_to_lie_apart_do_and_one_alone_waits_for_nobody(tmp_path: Path) -> None:
    now = [100.0]
    gate = LoginGate(tmp_path / "gate", clock=lambda: now[0])
    assert [gate.reserve("join", 0.5) for _ in range(3)] == [100.0, 100.5, 101.0]
    assert gate.reserve("login", 0.5) == 100.0
    assert gate.reserve("join") == 100.0
    assert gate.reserve("join", 0.5) == 101.5
    now[0] = 102.0
    assert gate.reserve("join", 0.5) == 102.0


def test_no_ten_seconds_hold_more_than_twenty_when_only_some_keep_a_distance(tmp_path: Path) -> None:
    now = [0.0]
    gate = LoginGate(tmp_path / "gate", clock=lambda: now[0])
    places = []
    for number in range(300):
        now[0] += (number * 7919 % 97) / 150
        places.append(gate.reserve("join", 0.5 if number % 3 else 0.0))
    assert most_in_a_window(places) <= LIMIT


def test_logins_and_joins_have_a_limit_each(tmp_path: Path) -> None:
    gate = LoginGate(tmp_path / "gate", clock=lambda: 5.0)
    for _ in range(LIMIT):
        assert gate.reserve("login") == 5.0
        assert gate.reserve("join") == 5.0
    assert gate.reserve("login") > 5.0


def test_a_damaged_file_and_times_of_another_boot_count_as_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gate"
    path.write_bytes(b"\xff{not json")
    assert LoginGate(path, clock=lambda: 5.0).reserve("login") == 5.0
    later = LoginGate(path, clock=lambda: 1_000_000.0)
    for _ in range(LIMIT):
        later.reserve("login")
    assert LoginGate(path, clock=lambda: 6.0).reserve("login") == 6.0


def _reserve_many(path: Path) -> list[float]:
    gate = LoginGate(path)
    return [gate.reserve("join") for _ in range(25)]


def test_processes_share_the_gate(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.map(_reserve_many, [tmp_path / "gate"] * 4)
    places = [place for one in found for place in one]
    assert len(places) == 100
    assert most_in_a_window(places) <= LIMIT
