import gc
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shared.errors import BrokerSoftwareError
from shared.paths import Paths
from workers import kafka_jars
from workers.kafka_jars import LOCK, VERSION, Progress, Source, fetch, is_complete, read_lock

ROOT = Path(kafka_jars.__file__).parent.parent
PACKAGES = next(path for path in sys.path if path.endswith("site-packages"))
DEADLINE_SECONDS = 30.0
# jgo leaves the connection of a download that failed to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
JARS = {f"part{number}": os.urandom(20_000 + number) for number in range(8)}


class Repository:
    """A Maven repository on loopback; ``jars`` is what it serves, ``asked`` what was asked for."""

    def __init__(self) -> None:
        self.jars = {f"/example/{name}/1.0/{name}-1.0.jar": content for name, content in JARS.items()}
        self.asked: list[str] = []
        self.failures = 0
        """So many answers break off in the middle."""
        self.stalled = threading.Event()
        self.stall = ""
        """The jar with this name stops in the middle until ``go_on`` is set; ``stalled`` tells of it."""
        self.go_on = threading.Event()
        repository = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                repository.answer(self)

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,)).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        content = self.jars.get(request.path)
        if content is None:
            request.send_error(404)
            return
        self.asked.append(request.path)
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        half = len(content) // 2
        if self.failures:
            self.failures -= 1
            request.wfile.write(content[:half])
            return
        if self.stall and self.stall in request.path:
            request.wfile.write(content[:half])
            request.wfile.flush()
            self.stalled.set()
            self.go_on.wait(DEADLINE_SECONDS)
            content = content[half:]
        try:
            request.wfile.write(content)
        except OSError:
            request.close_connection = True

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    repository = Repository()
    yield repository
    repository.close()
    # Here, where the warning about it is expected, and not in somebody else's test.
    gc.collect()


@pytest.fixture
def share(tmp_path: Path) -> Path:
    return tmp_path / "share"


@pytest.fixture
def source(tmp_path: Path, share: Path, repository: Repository) -> Source:
    lock = tmp_path / "some.lock"
    lines = [f"{hashlib.sha256(content).hexdigest()}  example:{name}:1.0\n" for name, content in JARS.items()]
    lock.write_text("# some jars\n" + "".join(lines))
    return Source(lock, share, repository.url)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "project")


def silent() -> Progress:
    return Progress(lambda _text: None)


def fetch_in_a_child(paths: Paths, source: Source) -> "subprocess.Popen[str]":
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from shared.paths import Paths\n"
        "from workers.kafka_jars import Progress, Source, fetch\n"
        "root, lock, shared = map(Path, sys.argv[1:4])\n"
        "folder = fetch(Paths(root), Progress(lambda text: None), Source(lock, shared, sys.argv[4]))\n"
        "print(folder, 'jgo' in sys.modules)\n"
    )
    arguments = [str(paths.root), str(source.lock), str(source.shared), str(source.repository)]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def assert_whole(folder: Path) -> None:
    assert {path.name: path.read_bytes() for path in folder.glob("*.jar")} == {
        f"{name}-1.0.jar": content for name, content in JARS.items()
    }


def assert_nothing_half(folder: Path) -> None:
    assert [path.name for path in folder.iterdir() if ".part-" in path.name] == []


def test_the_lock_file_names_every_jar_once_with_its_checksum() -> None:
    jars = read_lock(LOCK.read_text())
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in jars)
    assert len({jar.filename for jar in jars}) == len(jars) > 40
    assert ("org.apache.kafka", "kafka_2.13", VERSION) in {
        (jar.group, jar.artifact, jar.version) for jar in jars
    }


def test_jars_are_fetched_once_into_the_shared_folder(
    paths: Paths, source: Source, share: Path, repository: Repository
) -> None:
    folder = fetch(paths, silent(), source)
    assert folder == share / f"apache-kafka-{VERSION}"
    assert_whole(folder)
    assert_nothing_half(folder.parent)
    assert fetch(paths, silent(), source) == folder
    assert sorted(repository.asked) == sorted(repository.jars)
    assert not paths.run.exists()


def test_other_users_can_read_the_jars_whatever_the_umask_is(
    paths: Paths, source: Source, share: Path
) -> None:
    share.mkdir()
    before = os.umask(0o077)
    try:
        folder = fetch(paths, silent(), source)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert folder.stat().st_mode & 0o777 == 0o755


def _cut(folder: Path) -> None:
    os.truncate(folder / "part3-1.0.jar", 10_000)


def _remove_a_jar(folder: Path) -> None:
    (folder / "part3-1.0.jar").unlink()


def _remove_the_marker(folder: Path) -> None:
    (folder / "complete").unlink()


def _fill_the_marker_with_noise(folder: Path) -> None:
    (folder / "complete").write_bytes(b"\xff\x00")


@pytest.mark.parametrize("damage", [_cut, _remove_a_jar, _remove_the_marker, _fill_the_marker_with_noise])
def test_a_damaged_folder_is_noticed_and_fetched_anew(
    damage: Callable[[Path], None], paths: Paths, source: Source
) -> None:
    folder = fetch(paths, silent(), source)
    damage(folder)
    assert not is_complete(folder, source.lock.read_text())
    assert_whole(fetch(paths, silent(), source))
    assert_nothing_half(folder.parent)


def test_another_lock_file_makes_the_folder_incomplete(paths: Paths, source: Source) -> None:
    folder = fetch(paths, silent(), source)
    source.lock.write_text(source.lock.read_text() + "# changed\n")
    assert not is_complete(folder, source.lock.read_text())


def test_a_kill_in_mid_download_leaves_nothing_that_counts_as_whole(
    paths: Paths, source: Source, share: Path, repository: Repository
) -> None:
    repository.stall = "part7"
    child = fetch_in_a_child(paths, source)
    try:
        assert repository.stalled.wait(DEADLINE_SECONDS)
        end = time.monotonic() + DEADLINE_SECONDS
        while not list(share.glob(".*.part-*/**/part7-1.0.jar")):
            assert time.monotonic() < end, "no half jar is on the disk"
            time.sleep(0.02)
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    folder = share / f"apache-kafka-{VERSION}"
    assert not folder.exists()
    repository.stall = ""
    assert_whole(fetch(paths, silent(), source))
    assert_nothing_half(folder.parent)


def test_two_processes_that_fetch_at_once_fetch_once(
    paths: Paths, source: Source, share: Path, repository: Repository
) -> None:
    repository.stall = "part0"
    children = [fetch_in_a_child(paths, source), fetch_in_a_child(paths, source)]
    try:
        assert repository.stalled.wait(DEADLINE_SECONDS)
        repository.go_on.set()
        outputs = [child.communicate(timeout=DEADLINE_SECONDS)[0] for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert [child.returncode for child in children] == [0, 0]
    folder = share / f"apache-kafka-{VERSION}"
    # The one that waited had no use for what fetches.
    assert sorted(outputs) == [f"{folder} False\n", f"{folder} True\n"]
    assert sorted(repository.asked) == sorted(repository.jars)


def test_a_jar_with_another_checksum_is_refused_by_name(
    paths: Paths, source: Source, share: Path, repository: Repository
) -> None:
    repository.jars["/example/part5/1.0/part5-1.0.jar"] = b"not the one"
    with pytest.raises(BrokerSoftwareError, match=r"part5-1\.0\.jar .*checksum differs"):
        fetch(paths, silent(), source)
    assert not (share / f"apache-kafka-{VERSION}").exists()
    assert_nothing_half(share)


def test_a_jar_that_breaks_off_is_fetched_again(paths: Paths, source: Source, repository: Repository) -> None:
    repository.failures = 1
    assert_whole(fetch(paths, silent(), source))


def test_a_jar_that_is_not_there_is_an_error_that_says_what_to_do(
    paths: Paths, source: Source, repository: Repository
) -> None:
    del repository.jars["/example/part5/1.0/part5-1.0.jar"]
    with pytest.raises(
        BrokerSoftwareError, match=r"part5-1\.0\.jar .*check the network, or set KAFKA_BROKERS"
    ):
        fetch(paths, silent(), source)


def test_the_cache_of_other_maven_tools_is_not_used(
    paths: Paths, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "m2" / "example" / "part1" / "1.0" / "part1-1.0.jar"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"half a jar")
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    assert_whole(fetch(paths, silent(), source))
    assert foreign.read_bytes() == b"half a jar"


def test_where_the_environment_is_not_writable_the_jars_go_below_run(paths: Paths, source: Source) -> None:
    # Nobody, not even root, can make a folder there.
    unwritable = Source(source.lock, Path("/sys/kernel/share"), source.repository)
    paths.run.mkdir(parents=True)
    folder = fetch(paths, silent(), unwritable)
    assert folder == paths.kafka / f"apache-kafka-{VERSION}"
    assert_whole(folder)


def test_without_a_virtual_environment_the_interpreters_own_folder_is_left_alone() -> None:
    code = "from workers.kafka_jars import Source; print(Source().shared)"
    done = subprocess.run(
        [Path(sys.base_prefix) / "bin" / "python3", "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{PACKAGES}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.stdout == "None\n"


def test_a_fetch_that_is_asked_to_stop_leaves_nothing(paths: Paths, source: Source, share: Path) -> None:
    with pytest.raises(BrokerSoftwareError, match="stopped"):
        fetch(paths, silent(), source, stopping=lambda: True)
    assert [path.name for path in share.iterdir()] == [f".apache-kafka-{VERSION}.lock"]


@pytest.mark.parametrize("total", [1, 3, 8, 46])
def test_progress_is_at_most_six_lines(total: int) -> None:
    lines: list[str] = []
    progress = Progress(lines.append)
    for done in range(total + 1):
        progress.at(done, total)
    # The last one, with the seconds, comes besides.
    assert 1 <= len(lines) <= 5
    assert lines[0].startswith(f"fetching Apache Kafka {VERSION} ({total} jars")


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """An interpreter with this one's packages and no jars."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    return tmp_path / "venv" / "bin" / "python"


def run_command(python: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "TWITCH_"))}
    return subprocess.run(
        [str(python), "-m", "workers.kafka_jars"],
        cwd=ROOT,
        env=kept | {"PYTHONPATH": f"{ROOT}:{PACKAGES}", "NO_PROXY": ""} | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )


def test_without_network_one_line_says_what_to_do(bare_python: Path) -> None:
    nobody = "http://127.0.0.1:9"
    done = run_command(
        bare_python, KAFKA_BROKERS="", HTTPS_PROXY=nobody, https_proxy=nobody, no_proxy="", ALL_PROXY=nobody
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "check the network, or set KAFKA_BROKERS" in done.stderr
    assert done.stdout.startswith("kafka: fetching Apache Kafka")


def test_with_brokers_of_the_users_own_nothing_is_fetched(bare_python: Path) -> None:
    done = run_command(bare_python, KAFKA_BROKERS="broker.example:9092")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (bare_python.parent.parent / "share").exists()


def test_a_bad_setting_ends_the_command_with_its_name(bare_python: Path) -> None:
    done = run_command(bare_python, EMBEDDED_KAFKA_PORT="none")
    assert done.returncode == 2
    assert done.stderr.startswith("kafka: EMBEDDED_KAFKA_PORT='none' is not usable")


def test_a_complete_folder_is_recognised_without_what_fetches(paths: Paths, source: Source) -> None:
    folder = fetch(paths, silent(), source)
    child = fetch_in_a_child(paths, source)
    assert child.communicate(timeout=DEADLINE_SECONDS)[0] == f"{folder} False\n"
