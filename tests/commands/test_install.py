"""``commands/install.py`` and the Makefile around it, with a real pip and wheels that are made here."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.install import Progress
from tests.commands.install_project import SECONDS, Project, SilentIndex, Terminal

THERE = re.compile(r"2 packages are there after \d+ s\n")


@pytest.fixture(scope="module")
def new_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("venv") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=SECONDS)
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> Project:
    """Without a virtual environment."""
    return Project(tmp_path)


@pytest.fixture
def project(bare: Project, new_venv: Path) -> Project:
    shutil.copytree(new_venv, bare.folder / ".venv", symlinks=True)
    return bare


@pytest.fixture
def index() -> Iterator[SilentIndex]:
    index = SilentIndex()
    yield index
    index.close()


def test_without_a_terminal_the_progress_is_a_few_plain_lines(project: Project) -> None:
    done = project.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "\r" not in done.stdout
    *before, last = done.stdout.splitlines(keepends=True)
    assert THERE.fullmatch(last)
    assert len(before) <= 2
    assert (project.packages / "first_one.py").exists()
    assert (project.packages / "second_one.py").exists()


def test_on_a_terminal_one_line_counts_and_makes_room_for_the_result(project: Project) -> None:
    shown = Terminal(project.command, project.folder, project.environment()).read_to_the_end()
    *drawn, last = shown.split("\r")
    assert THERE.fullmatch(last)
    assert any(re.match(r"installing … \d of 2 packages, \d+ s", line) for line in drawn)
    assert not any("\n" in line for line in drawn)
    # The line is wiped out before.
    assert drawn[-1].strip() == ""


def test_what_is_there_already_takes_one_line(project: Project) -> None:
    project.run()
    done = project.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "all that requirements.txt names is there already\n"


def test_a_package_that_does_not_exist_gives_pip_s_words_an_advice_and_its_exit_code(
    project: Project,
) -> None:
    project.require("first_one\nnothing-like-this==7")
    done = project.run()
    assert done.returncode == 1
    *words, advice = done.stderr.splitlines()
    assert words[-1] == "ERROR: No matching distribution found for nothing-like-this==7"
    assert all(word.startswith("ERROR: ") for word in words)
    assert advice.startswith("requirements.txt could not be installed; the package index does not have it")


def test_no_network_is_told_from_a_package_that_does_not_exist(project: Project) -> None:
    project.require("not-in-the-folder")
    done = project.run(PIP_NO_INDEX="0", PIP_INDEX_URL="http://127.0.0.1:1/simple", PIP_RETRIES="2")
    assert done.returncode == 1
    assert done.stderr.count("WARNING: Retrying") == 1
    assert "Connection refused" in done.stderr
    assert "could not be installed; the network: is there one?" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_and_pip_with_it(
    project: Project, index: SilentIndex, number: signal.Signals
) -> None:
    process = project.start(PIP_NO_INDEX="0", PIP_INDEX_URL=index.url)
    with process, index.wait_asked() as pip:
        process.send_signal(number)
        shown, _ = process.communicate(timeout=SECONDS)
        # pip has gone: it can ask nothing any more.
        assert pip.recv(1) == b""
    assert process.returncode == 128 + number
    assert shown.endswith("stopped, the next `make setup` goes on with it\n")
    assert "Traceback" not in shown


def test_ctrl_c_leaves_nothing_that_counts_as_installed_and_the_next_time_goes_on(
    bare: Project, index: SilentIndex
) -> None:
    hanging = bare.environment(PIP_NO_INDEX="0", PIP_INDEX_URL=index.url)
    terminal = Terminal(["make", f"PYTHON={sys.executable}", "setup"], bare.folder, hanging)
    with index.wait_asked():
        terminal.press_ctrl_c()
        shown = terminal.read_to_the_end()
    assert terminal.process.returncode != 0
    assert shown.startswith("making the virtual environment in .venv …\n")
    assert "stopped, the next `make setup` goes on with it" in shown
    assert not (bare.folder / ".venv" / ".installed").exists()
    done = bare.run("make", "setup")
    assert done.returncode == 0, done.stderr
    assert THERE.search(done.stdout)
    assert (bare.folder / ".venv" / ".installed").exists()


def test_what_a_killed_pip_has_left_half_is_installed_again(project: Project) -> None:
    project.run()
    (project.packages / "first_one-1.0.dist-info" / "INSTALLER").unlink()
    (project.packages / "first_one.py").unlink()
    done = project.run()
    assert done.returncode == 0
    assert re.search(r"1 package is there after \d+ s\n", done.stdout)
    assert (project.packages / "first_one.py").exists()


def test_outside_of_a_virtual_environment_it_touches_nothing(bare: Project) -> None:
    python = str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
    done = bare.run(python, "commands/install.py", "requirements.txt")
    assert done.returncode == 2
    assert done.stderr.startswith("this is `make setup`'s")


def python_that(bare: Project, script: str) -> str:
    """An interpreter that does what the lines of sh say first, and is a real one then."""
    path = bare.folder / "python"
    path.write_text(f'#!/bin/sh\n{script}\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_a_python_without_its_venv_package_gives_one_line_that_names_it(bare: Project) -> None:
    python = python_that(bare, 'case "$2" in *ensurepip*) exit 1 ;; esac')
    done = bare.run("make", f"PYTHON={python}", "setup")
    assert done.returncode != 0
    assert done.stdout == ""
    line = f"{python} cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"
    assert done.stderr.splitlines()[0] == line
    assert not (bare.folder / ".venv").exists()


def test_a_virtual_environment_that_was_made_half_is_made_again(bare: Project) -> None:
    half = 'if [ "$2" = venv ]; then mkdir -p .venv/bin; touch .venv/bin/python; exit 1; fi'
    done = bare.run("make", f"PYTHON={python_that(bare, half)}", "setup")
    assert done.returncode != 0
    done = bare.run("make", f"PYTHON={sys.executable}", "setup")
    assert done.returncode == 0, done.stderr
    assert THERE.search(done.stdout)


@pytest.mark.parametrize("name", ["status", "tail", "doctor"])
def test_make_hands_arguments_to_a_command_and_fails_when_it_does(bare: Project, name: str) -> None:
    python = bare.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@"\nexit 3\n')
    python.chmod(0o755)
    (bare.folder / ".venv" / ".installed").touch()
    done = bare.run("make", name, "ARGS=--one two")
    assert done.stdout == f"-m commands.{name} --one two\n"
    assert done.returncode != 0
    assert name in bare.run("make", "help").stdout


def test_what_newer_and_older_pips_say_is_counted() -> None:
    progress = Progress()
    assert progress.text(0, 1.2) == "looking what is there … 1 s"
    for line in (
        "Looking in indexes: https://index.example/simple",
        "Collecting first==1.0 (from -r requirements.txt (line 1))",
        "  Downloading first-1.0-py3-none-any.whl.metadata (500 bytes)",
        "Collecting second_one (from first==1.0)",
        "  Downloading second_one-2.0-py3-none-any.whl (30.5 MB)",
    ):
        progress.take(line)
    assert progress.text(0, 2.0) == "fetching … 2 packages, 0 MB, 2 s, now second_one (30 MB)"
    progress.take("WARNING: Retrying (Retry(total=4)) after connection broken: /simple/third/")
    assert (
        progress.text(0, 9.0) == "fetching … 2 packages, 0 MB, 9 s: no answer from the network, trying again"
    )
    progress.take("     ━━━━━━━━━━━━━━━ 30.5/30.5 MB 219.1 MB/s eta 0:00:00")
    progress.take("Collecting third")
    assert progress.text(0, 10.0) == "fetching … 3 packages, 31 MB, 10 s"
    progress.take("Installing collected packages: first, second_one, third")
    assert progress.text(1, 11.0) == "installing … 1 of 3 packages, 11 s"
    progress.take("Successfully installed first-1.0 second_one-2.0 third-1.0")
    assert progress.installed == 3
    assert progress.errors() == ["WARNING: Retrying (Retry(total=4)) after connection broken: /simple/third/"]


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("ERROR: OSError: [Errno 28] No space left on device", "the disk is full"),
        ("Retrying after SSLError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]')", "the certificate is refused"),
        ("pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.", "the network"),
        ("ERROR: [Errno 13] Permission denied: '/srv/.venv'", "the virtual environment cannot be written"),
        ("/srv/.venv/bin/python: No module named pip", "the virtual environment is half made"),
        ("ERROR: Failed building wheel for lz4", "there is no ready-made package"),
        ("something new", "the whole of what pip says is shown by"),
    ],
)
def test_the_advice_goes_by_what_pip_says(line: str, advice: str) -> None:
    progress = Progress()
    progress.take("Collecting first")
    progress.take(line)
    assert progress.advice("requirements.txt").startswith(advice)
