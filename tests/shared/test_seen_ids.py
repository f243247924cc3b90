from shared.seen_ids import SeenIds


def test_an_id_is_new_once_per_channel() -> None:
    seen = SeenIds()
    assert seen.add("xqc", "a")
    assert not seen.add("xqc", "a")
    assert seen.add("other", "a")


def test_a_message_without_an_id_is_always_new() -> None:
    seen = SeenIds()
    assert seen.add("xqc", "")
    assert seen.add("xqc", "")


def test_old_ids_go_once_there_are_enough_younger_ones() -> None:
    now = [0.0]
    seen = SeenIds(keep_seconds=600, at_least=10, at_most=100, clock=lambda: now[0])
    for number in range(50):
        seen.add("xqc", f"old-{number}")
    assert len(seen) == 50
    now[0] = 601.0
    seen.add("xqc", "young")
    assert len(seen) == 10
    assert not seen.add("xqc", "old-49")
    assert seen.add("xqc", "old-0")


def test_memory_is_bounded_whatever_the_rate() -> None:
    seen = SeenIds(keep_seconds=600, at_least=10, at_most=100, clock=lambda: 0.0)
    for number in range(1000):
        seen.add("xqc", str(number))
    assert len(seen) == 100
