from shared.seen_ids import SeenIds, key_of


def test_an_id_is_new_once_per_channel() -> None:
    seen = SeenIds()
    assert seen.add(key_of("xqc", "a"))
    assert not seen.add(key_of("xqc", "a"))
    assert seen.add(key_of("other", "a"))


def test_old_ids_go_once_there_are_enough_younger_ones() -> None:
    now = [0.0]
    seen = SeenIds(keep_seconds=600, at_least=10, at_most=100, clock=lambda: now[0])
    for number in range(50):
        seen.add(key_of("xqc", f"old-{number}"))
    assert len(seen) == 50
    now[0] = 601.0
    seen.add(key_of("xqc", "young"))
    assert len(seen) == 10
    assert not seen.add(key_of("xqc", "old-49"))
    assert seen.add(key_of("xqc", "old-0"))


def test_memory_is_bounded_whatever_the_rate() -> None:
    seen = SeenIds(keep_seconds=600, at_least=10, at_most=100, clock=lambda: 0.0)
    for number in range(1000):
        seen.add(key_of("xqc", str(number)))
    assert len(seen) == 100
