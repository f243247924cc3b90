import asyncio
import errno
import json
import multiprocessing
import stat
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from shared.errors import TokenFileDamaged
from shared.token_store import TokenStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokenStore.json"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_file_has_the_three_keys_of_the_contract(path: Path) -> None:
    before = time.time()
    expires_at_ms = TokenStore(path).write("access1", "refresh1", 3600)
    stored = json.loads(path.read_bytes())
    assert stored == {"accessToken": "oauth:access1", "refreshToken": "refresh1", "expiresAt": expires_at_ms}
    assert before + 3599 < expires_at_ms / 1000 < time.time() + 3601
    assert mode_of(path) == 0o600


def test_what_is_written_is_read(path: Path) -> None:
    store = TokenStore(path)
    expires_at_ms = store.write("access1", "refresh1", 3600)
    tokens = store.read()
    assert tokens.access is not None
    assert (tokens.access.secret, tokens.refresh_token, tokens.expires_at_ms) == (
        "access1",
        "refresh1",
        expires_at_ms,
    )


def test_keys_of_others_stay_as_they_are(path: Path) -> None:
    others = '"note": {"by": ["me", 1e400, 12345678901234567890123]}, "empty": null'
    path.write_text(f'{{{others}, "accessToken": "old", "expiresAt": 1}}')
    TokenStore(path).write("access1", "refresh1", 3600)
    text = path.read_text()
    assert "1e400" in text and "12345678901234567890123" in text and '"empty": null' in text
    assert "oauth:access1" in text and "old" not in text


def test_a_damaged_file_is_replaced_by_a_whole_one(path: Path) -> None:
    path.write_bytes(b'{"accessToken": "oau')
    TokenStore(path).write("access1", None, 60)
    assert json.loads(path.read_bytes())["accessToken"] == "oauth:access1"


def test_a_symbolic_link_stays_and_its_file_is_replaced(path: Path, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    target = tmp_path / "secrets" / "token.json"
    target.write_text("{}")
    path.symlink_to(target)
    TokenStore(path).write("access1", "refresh1", 60)
    assert path.is_symlink()
    assert json.loads(target.read_bytes())["accessToken"] == "oauth:access1"


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    path.write_text("{}")
    path.chmod(0o644)
    store = TokenStore(path)
    assert store.close_to_others()
    assert mode_of(path) == 0o600
    assert not store.close_to_others()


def test_the_signature_tells_every_change(path: Path) -> None:
    store = TokenStore(path)
    assert store.signature() is None
    store.write("access1", "refresh1", 60)
    first = store.signature()
    assert first == store.signature()
    store.write("access2", "refresh2", 60)
    assert store.signature() != first


def test_a_copy_of_a_damaged_file_is_as_closed_as_the_file(path: Path) -> None:
    path.write_bytes(b"half a tok")
    copy = TokenStore(path).keep_copy()
    assert copy.read_bytes() == b"half a tok"
    assert mode_of(copy) == 0o600
    with pytest.raises(TokenFileDamaged):
        TokenStore(path).read()


def test_a_folder_that_is_missing_is_said_before_a_token_is_spent(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TokenStore(tmp_path / "nowhere" / "tokenStore.json").check_usable()


def test_a_check_leaves_nothing_behind_and_the_file_as_it_was(path: Path) -> None:
    path.write_text("{}")
    store = TokenStore(path)
    before = store.signature()
    store.check_usable()
    assert store.signature() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_rehearsal_changes_nothing_and_leaves_nothing_behind(path: Path) -> None:
    path.write_bytes(b'{"accessToken":   "as it was"}')
    TokenStore(path).rehearse()
    assert path.read_bytes() == b'{"accessToken":   "as it was"}'
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_rehearsal_finds_what_can_be_written_and_not_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_self: Path, _target: Path) -> Path:
        # What the kernel says of a file that is mounted by itself.
        raise OSError(errno.EBUSY, "Device or resource busy")

    path.write_text("{}")
    monkeypatch.setattr(Path, "replace", busy)
    TokenStore(path).check_usable()
    with pytest.raises(OSError, match="busy"):
        TokenStore(path).rehearse()
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_what_is_no_file_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o755)
    assert not TokenStore(folder).close_to_others()
    assert mode_of(folder) == 0o755


def test_what_killed_writers_left_is_removed_by_the_next_that_has_the_lock(path: Path) -> None:
    left = path.with_name(f".{path.name}.12345.new")
    other = path.with_name(f".{path.name}.mine.new")
    left.write_text("secret")
    other.write_text("somebody else's")

    async def lock() -> None:
        async with TokenStore(path).locked():
            assert not left.exists()

    asyncio.run(lock())
    assert other.exists()


def test_the_lock_keeps_another_task_out(path: Path) -> None:
    order: list[str] = []

    async def use(name: str, holds: asyncio.Event | None) -> None:
        async with TokenStore(path).locked():
            order.append(f"{name} in")
            if holds is not None:
                await holds.wait()
            order.append(f"{name} out")

    async def both() -> None:
        release = asyncio.Event()
        first = asyncio.create_task(use("first", release))
        while not order:
            await asyncio.sleep(0)
        second = asyncio.create_task(use("second", None))
        done, _ = await asyncio.wait({second}, timeout=0.3)
        assert not done
        release.set()
        await asyncio.gather(first, second)

    asyncio.run(both())
    assert order == ["first in", "first out", "second in", "second out"]


def _hold(path: Path, held: Event) -> None:
    async def hold() -> None:
        async with TokenStore(path).locked():
            held.set()
            await asyncio.Event().wait()

    asyncio.run(hold())


def test_the_lock_of_a_killed_process_is_free(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=_hold, args=(path, held))
    holder.start()
    assert held.wait(30)
    holder.kill()
    holder.join()
    holder.close()

    async def take() -> None:
        async with TokenStore(path).locked():
            pass

    asyncio.run(asyncio.wait_for(take(), 10))


def test_a_lock_that_is_not_given_back_in_time_is_an_error_that_names_it(path: Path) -> None:
    async def both() -> None:
        async with TokenStore(path).locked(), TokenStore(path).locked(wait_seconds=0.2):
            raise AssertionError("two hold the lock")

    with pytest.raises(TimeoutError, match=r"tokenStore\.json\.lock"):
        asyncio.run(both())
