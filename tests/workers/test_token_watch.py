import errno
import os
from pathlib import Path

import pytest

from shared.token_file import StoredTokens
from shared.token_store import TokenStore
from workers.token_watch import NoFile, TokenWatch, Unusable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokenStore.json"


@pytest.fixture
def watch(path: Path) -> TokenWatch:
    return TokenWatch(TokenStore(path))


def access_of(found: object) -> str:
    assert isinstance(found, StoredTokens) and found.access is not None
    return found.access.secret


def test_that_there_is_no_file_is_said_once(watch: TokenWatch) -> None:
    assert watch.look() == NoFile()
    assert watch.look() is None


def test_a_file_is_found_once_and_then_again_when_it_is_another(path: Path, watch: TokenWatch) -> None:
    path.write_text('{"accessToken": "one"}')
    path.chmod(0o600)
    assert access_of(watch.look()) == "one"
    assert watch.look() is None
    assert not watch.changed()
    path.write_text('{"accessToken": "another"}')
    assert watch.changed()
    assert access_of(watch.look()) == "another"
    assert watch.look() is None


def test_a_file_that_was_only_touched_is_nothing_new(path: Path, watch: TokenWatch) -> None:
    path.write_text('{"accessToken": "one"}')
    watch.look()
    os.utime(path, (1, 1))
    assert watch.look() is None
    assert not watch.changed()


def test_a_file_that_is_gone_for_a_moment_is_not_gone(path: Path, watch: TokenWatch) -> None:
    path.write_text('{"accessToken": "one"}')
    watch.look()
    path.unlink()
    assert watch.look() is None
    path.write_text('{"accessToken": "another"}')
    assert access_of(watch.look()) == "another"


def test_a_file_that_stays_away_is_gone(path: Path, watch: TokenWatch) -> None:
    path.write_text('{"accessToken": "one"}')
    watch.look()
    path.unlink()
    assert watch.look() is None
    assert watch.look() == NoFile()
    assert watch.look() is None


def test_a_half_written_file_is_not_damaged(path: Path, watch: TokenWatch) -> None:
    path.write_text('{"accessToken": "on')
    assert watch.look() is None
    path.write_text('{"accessToken": "one"}')
    assert access_of(watch.look()) == "one"


def test_a_file_that_stays_damaged_is_said_once(path: Path, watch: TokenWatch) -> None:
    path.write_text('{"accessToken": "on')
    path.chmod(0o600)
    assert watch.look() is None
    assert watch.look() == Unusable("tokenStore.json is no JSON object with an accessToken")
    assert watch.look() is None
    path.write_text("other damage")
    assert watch.look() is None
    assert isinstance(watch.look(), Unusable)


def test_a_folder_in_its_place_is_said(path: Path, watch: TokenWatch) -> None:
    path.mkdir(mode=0o700)
    watch.look()
    assert isinstance(watch.look(), Unusable)
    path.rmdir()
    path.write_text('{"accessToken": "one"}')
    assert access_of(watch.look()) == "one"


def test_a_file_that_cannot_be_closed_to_others_is_used_all_the_same(path: Path) -> None:
    class NotOurs(TokenStore):
        def close_to_others(self) -> bool:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    path.write_text('{"accessToken": "one"}')
    assert access_of(TokenWatch(NotOurs(path)).look()) == "one"


def test_a_pipe_in_its_place_does_not_make_it_wait(path: Path, watch: TokenWatch) -> None:
    os.mkfifo(path, 0o600)
    watch.look()
    assert isinstance(watch.look(), Unusable)
    with pytest.raises(OSError, match="no file"):
        TokenStore(path).keep_copy()
