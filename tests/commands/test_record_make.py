"""What `make record` and `make replay` start; the virtual environment's Python only says what it is given."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes.service import ROOT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.txt", "requirements-embedded.txt", "constraints.txt"):
        (tmp_path / name).touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nprintf '[%s]' \"$@\"\necho\n")
    python.chmod(0o755)
    (tmp_path / ".venv" / ".installed").touch()
    for name in ("one.gz", "two.gz"):
        (tmp_path / name).touch()
    return tmp_path


def make(folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["record", "FILE=chat.irc.gz"], "[commands.record][chat.irc.gz]"),
        (["record", "chat.irc.gz"], "[commands.record][chat.irc.gz]"),
        (["record", "one.gz"], "[commands.record][one.gz]"),
        (["record", "FILE=a name.gz"], "[commands.record][a name.gz]"),
        (["record", "FILE=test"], "[commands.record][test]"),
        (["replay", "one.gz", "two.gz"], "[commands.replay][one.gz][two.gz]"),
        (["replay", "FILE=*.gz"], "[commands.replay][one.gz][two.gz]"),
        (["-j2", "replay", "one.gz", "two.gz"], "[commands.replay][one.gz][two.gz]"),
    ],
)
def test_the_words_behind_are_files_and_nothing_else_is_run_or_said(
    project: Path, arguments: list[str], given: str
) -> None:
    assert make(project, *arguments) == (0, f"[-m]{given}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["record"], "usage: make record chat.irc.gz."),
        (["replay"], "usage: make replay chat-*.irc.gz."),
        (["record", "test"], '"test" cannot stand there, as make has another meaning for it'),
        (["replay", "one.gz", "clean"], "write make replay FILE=…"),
        (["replay", "a:b.gz"], "write make replay FILE=…"),
    ],
)
def test_without_files_or_with_words_that_make_knows_nothing_is_run(
    project: Path, arguments: list[str], said: str
) -> None:
    code, out, err = make(project, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_other_targets_are_what_they_were(project: Path) -> None:
    assert make(project, "tail", "ARGS=--json") == (0, "[-m][commands.tail][--json]\n", "")
