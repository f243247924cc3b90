"""The points of `make doctor` about Python, packages, modes of files, and the disk."""

import os
import stat
from importlib import metadata
from pathlib import Path

import pytest

from commands.doctor_machine import FLOOR_BYTES, disk_space, file_modes
from commands.doctor_packages import packages, python
from commands.doctor_point import BAD, GOOD, UNTRIED
from shared import settings
from shared.paths import Paths
from shared.settings import Settings
from tests.processes.service import ROOT

GIB = 1024**3


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


def loaded(paths: Paths, **environment: str) -> Settings:
    return settings.load(paths, environment)


def require(root: Path, main: str, embedded: str = "# nothing\n") -> None:
    (root / "requirements.txt").write_text(main)
    (root / "requirements-embedded.txt").write_text(embedded)


def test_this_python_and_its_packages_are_well() -> None:
    assert python().sign == GOOD
    point = packages(ROOT)
    assert point.sign == GOOD
    pins = [line for name in ("requirements.txt", "requirements-embedded.txt")
            for line in (ROOT / name).read_text().splitlines() if "==" in line]  # fmt: skip
    assert f"all {len(pins)} " in point.text


def test_an_old_python_is_named_with_the_one_to_install() -> None:
    point = python((3, 10, 12))
    assert point.sign == BAD
    assert point.text == "3.10.12, 3.11 or newer is needed"
    assert "make setup PYTHON=python3.11" in point.remedy


def test_a_package_of_another_version_and_one_that_is_missing_are_named(tmp_path: Path) -> None:
    installed = metadata.version("msgspec")
    require(
        tmp_path,
        "# What it runs on.\n-c constraints.txt\nmsgspec==0.0.1\nno-such-package==4.5 # why\n",
        f"httpx[http2]=={metadata.version('httpx')}\nno_other==7; python_version > '3'\n",
    )
    point = packages(tmp_path)
    assert point.sign == BAD
    assert point.text == (
        f"msgspec is {installed}, requirements.txt has 0.0.1; no-such-package is missing, requirements.txt "
        "has 4.5; no_other is missing, requirements-embedded.txt has 7"
    )
    assert point.remedy.endswith(" -m pip install -r requirements.txt -r requirements-embedded.txt")


def test_a_missing_list_of_packages_is_named(tmp_path: Path) -> None:
    point = packages(tmp_path)
    assert point.sign == BAD
    assert "requirements.txt cannot be read" in point.text
    assert "git checkout requirements.txt" in point.remedy


def test_where_nothing_secret_is_there_modes_do_not_apply(paths: Paths) -> None:
    paths.run.mkdir(mode=0o755)
    (paths.root / ".env").write_text("LOG_LEVEL=debug\n# TWITCH_OAUTH_TOKEN=\n")
    (paths.root / ".env").chmod(0o644)
    assert file_modes(paths, loaded(paths)).sign == UNTRIED


def test_what_is_closed_to_others_is_well(paths: Paths) -> None:
    paths.prepare()
    for name in ("tokenStore.json", ".env"):
        (paths.root / name).write_text("TWITCH_CLIENT_SECRET=abcdefgh\n")
        (paths.root / name).chmod(0o600)
    point = file_modes(paths, loaded(paths))
    assert point.sign == GOOD
    assert point.text == "run is 0700, tokenStore.json is 0600, .env is 0600"


def test_what_is_open_to_others_is_named_with_a_command_that_closes_it(paths: Paths) -> None:
    paths.prepare()
    paths.run.chmod(0o755)
    for name in ("tokenStore.json", ".env"):
        (paths.root / name).write_text("export TWITCH_CLIENT_SECRET = 'abcdefgh'\n")
        (paths.root / name).chmod(0o640)
    point = file_modes(paths, loaded(paths))
    assert point.sign == BAD
    assert point.text == (
        "run is 0755, open to others; tokenStore.json is 0640, open to others; .env is 0640, open to others"
    )
    assert os.system(f"cd '{paths.root}' && {point.remedy}") == 0
    assert file_modes(paths, loaded(paths)).sign == GOOD


def test_a_token_file_that_lies_elsewhere_is_found(
    paths: Paths, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("tokens") / "mine.json"
    elsewhere.write_text("{}")
    elsewhere.chmod(0o644)
    point = file_modes(paths, loaded(paths, TWITCH_TOKEN_FILE=str(elsewhere)))
    assert point.remedy == f"chmod 600 {elsewhere}"
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o644


@pytest.mark.parametrize("free, sign", [(FLOOR_BYTES - 1, BAD), (FLOOR_BYTES, GOOD), (50 * GIB, GOOD)])
def test_less_than_a_gibibyte_is_too_little(paths: Paths, free: int, sign: str) -> None:
    point = disk_space(paths, loaded(paths), lambda _folder: free)
    assert point.sign == sign
    assert f"{free / GIB:.1f} GiB free" in point.text
    assert bool(point.remedy) == (sign == BAD)


def test_less_than_the_spool_may_take_is_told_and_no_failure(paths: Paths) -> None:
    short = disk_space(paths, loaded(paths, SPOOL_MAX_BYTES=str(6 * GIB)), lambda _folder: 5 * GIB)
    assert short.sign == GOOD
    assert "the spool may take up to 6.0 GiB" in short.notes[0]
    assert disk_space(paths, loaded(paths, SPOOL_MAX_BYTES=str(4 * GIB)), lambda _folder: 5 * GIB).notes == ()
    assert disk_space(paths, None, lambda _folder: 5 * GIB).notes == ()


def test_the_disk_of_the_run_folder_is_the_one_that_counts(paths: Paths) -> None:
    asked: list[Path] = []

    def free(folder: Path) -> int:
        asked.append(folder)
        return GIB

    disk_space(paths, None, free)
    paths.run.mkdir()
    disk_space(paths, None, free)
    assert asked == [paths.root, paths.run]
    assert disk_space(paths, None).text.endswith("GiB free where run/ is")
