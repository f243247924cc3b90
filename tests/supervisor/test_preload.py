import optparse
import sys
from array import array
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.supervisor.script import FOLDER, load_script

preload = load_script("preload")


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, line: str) -> None:
        self.lines.append(line)


def preloaded(root: str, files: str = "") -> Any:
    """One that has loaded nothing."""
    made = preload.Preloaded.__new__(preload.Preloaded)
    made._root = root
    made._files = files
    made._signatures = array("q", preload._signatures(files.split("\0")))
    return made


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/srv/x/supervisor/start-worker -m workers.reader xqc", ["-m", "workers.reader", "xqc"]),
        ("/srv/x/supervisor/start-worker supervisor/watchdog.py", ["supervisor/watchdog.py"]),
        ("/srv/x/supervisor/start-worker -m", None),
        ("/srv/x/supervisor/start-worker -c pass", None),
        ("/srv/x/supervisor/start-worker", None),
        ("/srv/y/supervisor/start-worker -m workers.reader xqc", None),
        ("/bin/cat", None),
    ],
)
def test_only_our_own_workers_go_on_as_forks(command: str, expected: list[str] | None) -> None:
    assert preloaded("/srv/x").arguments(command.split()) == expected


@pytest.mark.parametrize("change", ["longer", "replaced", "gone"])
def test_a_file_that_is_another_one_is_noticed(tmp_path: Path, change: str) -> None:
    files = [tmp_path / "one.py", tmp_path / "two.py"]
    for file in files:
        file.write_text("pass")
    loaded = preloaded("", "\0".join(map(str, files)))
    assert loaded.is_current()
    if change == "longer":
        files[1].write_text("pass\n")
    elif change == "replaced":
        (tmp_path / "new").write_text("pass")
        (tmp_path / "new").replace(files[0])
    else:
        files[1].unlink()
    assert not loaded.is_current()


@pytest.mark.parametrize(
    ("code", "expected"), [(None, 0), (0, 0), (3, 3), (True, 1), (256, 0), (-1, 255), ("because", 1)]
)
def test_an_exit_code_is_what_the_interpreter_makes_of_it(
    code: Any, expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert preload._exit_code(SystemExit(code)) == expected
    assert capsys.readouterr().err == ("because\n" if code == "because" else "")


def test_workers_look_for_modules_in_the_project_first_and_not_where_supervisord_was_told_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", ["/venv/bin", "/mine", "/python", "/venv/site-packages"])
    monkeypatch.setenv("PYTHONPATH", "/mine")
    assert preload._path_of_workers("/srv/x") == ["/srv/x", "/python", "/venv/site-packages"]


def test_of_a_loaded_module_only_the_program_runs(tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_text('done.append("load")\nif __name__ == "__main__":\n    done.append("run")\n')
    module = ModuleType("__main__")
    module.__file__ = str(file)
    done: list[str] = []
    exec(preload._main_of(module), {"__name__": "__main__", "done": done})
    assert done == ["run"]
    file.write_text("pass")
    with pytest.raises(ImportError, match="no part that makes it a program"):
        preload._main_of(module)


def test_new_objects_lie_side_by_side_once_the_gaps_are_filled() -> None:
    # Of every ten one is free again.
    blocks = [bytes(80) for _ in range(10_000)]
    left = [block for number, block in enumerate(blocks) if number % 10]
    del blocks
    kept = preload._fill_gaps()
    new = [bytes(80) for _ in range(100)]
    assert len({id(block) // preload.POOL_BYTES for block in new}) <= 2
    assert left
    assert kept


def test_an_allocator_of_another_kind_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preload, "MOST_BLOCKS", 10)
    assert preload._fill_gaps() == []


def test_the_plugin_can_be_read_in_any_locale() -> None:
    assert (FOLDER / "plugin.py").read_bytes().isascii()


# optparse leaves the closing of the file to Python.
@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("content", [None, "def", "1 / 0", "def install(*_):\n    raise OSError('no')"])
def test_supervisord_goes_on_when_the_plugin_fails(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "supervisor").mkdir()
    if content is not None:
        (tmp_path / "supervisor" / "preload.py").write_text(content)
    log = Log()
    supervisord: Any = SimpleNamespace(options=SimpleNamespace(here=str(tmp_path), logger=log))
    read_file: Any = optparse.Values.read_file
    try:
        read_file(supervisord, filename=str(FOLDER / "plugin.py"))
    finally:
        sys.modules.pop("supervisor_preload", None)
    assert len(log.lines) == 1
    assert log.lines[0].startswith("preload: does not work: ")
