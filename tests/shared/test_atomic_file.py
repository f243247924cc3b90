import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.atomic_file import check_replaceable, replace_file

ROOT = Path(__file__).parents[2]


@pytest.fixture
def umask() -> Iterator[None]:
    """Gives the process its umask back after a test that changed it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("durable", [False, True], ids=["fast", "durable"])
@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\r\n", b"x" * 1_000_000], ids=["empty", "binary", "large"]
)
def test_a_new_file_holds_exactly_the_content(tmp_path: Path, content: bytes, durable: bool) -> None:
    path = tmp_path / "file"
    replace_file(path, content, durable=durable)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("durable", [False, True], ids=["fast", "durable"])
def test_an_old_file_is_replaced_and_not_edited(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a longer old content")
    with path.open("rb") as reader_of_the_old:
        replace_file(path, b"new", durable=durable)
        assert reader_of_the_old.read() == b"a longer old content"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_for_its_owner_alone_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"secret")
    assert mode_of(path) == 0o600


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o177], ids=oct)
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666], ids=oct)
@pytest.mark.usefixtures("umask")
def test_the_mode_is_set_whatever_the_umask(tmp_path: Path, mode: int, mask: int) -> None:
    path = tmp_path / "file"
    os.umask(mask)
    replace_file(path, b"content", mode)
    assert mode_of(path) == mode


@pytest.mark.usefixtures("umask")
def test_an_open_old_file_does_not_leave_its_mode_to_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o666)
    replace_file(path, b"secret", 0o600)
    assert mode_of(path) == 0o600


def test_a_missing_folder_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        replace_file(tmp_path / "missing" / "file", b"content")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_at_the_files_place_is_an_oserror_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()
    (path / "inside").write_bytes(b"kept")
    with pytest.raises(OSError, match="file"):
        replace_file(path, b"content")
    assert (path / "inside").read_bytes() == b"kept"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("durable", [False, True], ids=["fast", "durable"])
def test_a_disk_that_takes_no_more_leaves_the_old_file_and_no_litter(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from shared.atomic_file import replace_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: replace_file(Path(sys.argv[1]), b'n' * 100_000, durable=sys.argv[2] == 'True')\n"
        "except OSError as error: print('refused', error.errno)\n"
    )
    result = run_python(code, str(path), str(durable))
    assert result.stdout.startswith("refused"), result.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_the_old_file_or_the_new_one_and_never_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([letter]) * size for letter, size in ((97, 200_000), (98, 50_000), (99, 1))]
    replace_file(path, contents[0])
    done = threading.Event()

    def write() -> None:
        for number in range(300):
            replace_file(path, contents[number % 3])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    try:
        while not done.is_set():
            seen.add(path.read_bytes())
    finally:
        writer.join()
    assert seen <= set(contents)
    assert len(seen) > 1


def test_two_processes_that_write_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    code = (
        "import sys; from pathlib import Path; from shared.atomic_file import replace_file\n"
        "for _ in range(200): replace_file(Path(sys.argv[1]), sys.argv[2].encode() * 50_000)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), letter], cwd=ROOT, stderr=subprocess.PIPE)
        for letter in "ab"
    ]
    errors = [writer.communicate(timeout=60)[1] for writer in writers]
    assert errors == [b"", b""]
    assert path.read_bytes() in (b"a" * 50_000, b"b" * 50_000)
    assert list(tmp_path.iterdir()) == [path]


def test_a_relative_path_is_the_working_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    replace_file(Path("file"), b"content", durable=True)
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_check_makes_no_file_and_says_what_replacing_would(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "file", 100)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        check_replaceable(tmp_path / "nowhere" / "file", 100)
