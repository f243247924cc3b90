import pytest

from workers import reader


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("xqc", ("xqc", 1)),
        ("xqc --copy 2", ("xqc", 2)),
        ("--copy 2 xqc", ("xqc", 2)),
        ("xqc --copy=3", ("xqc", 3)),
    ],
)
def test_a_channel_and_which_of_its_readers_are_named(given: str, expected: tuple[str, int]) -> None:
    assert reader._arguments(given.split()) == expected


@pytest.mark.parametrize(
    ("given", "code"),
    [("", 2), ("--help", 0), ("-h", 0), ("xqc --copy two", 2), ("xqc --copy", 2), ("a b", 2)],
)
def test_wrong_usage_and_the_wish_for_help_are_answered(
    given: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        reader._arguments(given.split())
    assert end.value.code == code
    assert "usage: python -m workers.reader" in "".join(capsys.readouterr())
