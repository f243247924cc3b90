import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.token_file import token_of_the_moment


def test_the_fixed_token_comes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tokenStore.json"
    path.write_text(json.dumps({"accessToken": "oauth:fromfile"}))
    moment = token_of_the_moment("fixed1", path)
    assert moment.token is not None
    assert moment.token.password == "oauth:fixed1"


@pytest.mark.parametrize("stored", ["oauth:abc123", "abc123", " OAuth:abc123 "])
def test_the_files_token_may_have_its_prefix_or_not(tmp_path: Path, stored: str) -> None:
    path = tmp_path / "tokenStore.json"
    path.write_text(json.dumps({"accessToken": stored, "refreshToken": "r", "expiresAt": 1}))
    moment = token_of_the_moment("", path)
    assert moment.token is not None
    assert moment.token.password == "oauth:abc123"


def test_no_token_at_all_is_anonymous_without_a_warning(tmp_path: Path) -> None:
    moment = token_of_the_moment("", tmp_path / "tokenStore.json")
    assert moment.token is None
    assert moment.warning is None


def test_a_token_that_would_smuggle_in_a_command_is_not_used(tmp_path: Path) -> None:
    moment = token_of_the_moment("abc\r\nJOIN #x", tmp_path / "none")
    assert moment.token is None
    assert moment.warning is not None
    assert "abc" not in moment.warning


def test_a_repr_does_not_show_the_token(tmp_path: Path) -> None:
    assert "s3cret" not in repr(token_of_the_moment("s3cret", tmp_path / "none"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_in_the_file_never_raise(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenStore.json"
    path.write_bytes(content)
    moment = token_of_the_moment("", path)
    assert moment.token is not None or moment.warning is not None
