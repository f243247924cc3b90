import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import TokenFileDamaged
from shared.token_file import Token, read_tokens, token_of_the_moment
from shared.token_store import TokenStore


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


def test_a_placeholder_in_the_file_is_no_token(tmp_path: Path) -> None:
    path = tmp_path / "tokenStore.json"
    path.write_text(
        json.dumps({"accessToken": "oauth:your_token_here", "refreshToken": "your_refresh_token"})
    )
    moment = token_of_the_moment("", path)
    assert moment.token is None
    assert moment.warning is not None and "placeholder" in moment.warning


def test_a_token_that_is_too_short_is_called_out_and_used(tmp_path: Path) -> None:
    moment = token_of_the_moment("oauth:short", tmp_path / "none")
    assert moment.token is not None
    assert moment.warning is not None and "5 characters" in moment.warning


def test_a_byte_order_mark_does_not_hide_the_token(tmp_path: Path) -> None:
    path = tmp_path / "tokenStore.json"
    path.write_bytes(b'\xef\xbb\xbf{"accessToken": "oauth:abc"}')
    assert token_of_the_moment("", path).token is not None


def test_nesting_without_end_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "tokenStore.json"
    path.write_text('{"accessToken": "abc", "other": ' + "[" * 100_000 + "]" * 100_000 + "}")
    token_of_the_moment("", path)
    path.write_text("[" * 500_000)
    assert token_of_the_moment("", path).token is None


def test_a_fingerprint_tells_tokens_apart_and_holds_none(tmp_path: Path) -> None:
    fingerprints = {Token(secret, "x").fingerprint for secret in ("one1", "two2", "one1")}
    assert len(fingerprints) == 2
    assert all(len(one) == 16 and "one1" not in one for one in fingerprints)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    fields=st.dictionaries(
        st.sampled_from(["accessToken", "refreshToken", "expiresAt", "other"]) | st.text(max_size=5), VALUES
    )
)
def test_any_values_are_tokens_or_damage_and_others_survive_a_write(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    path = tmp_path / "tokenStore.json"
    path.write_text(json.dumps(fields))
    try:
        stored = read_tokens(path)
    except TokenFileDamaged as error:
        assert "\n" not in str(error)
    else:
        assert stored.access is not None or stored.refresh_token is not None
    TokenStore(path).write("written", "refresh", 60)
    written = json.loads(path.read_text())
    own = {"accessToken", "refreshToken", "expiresAt"}
    assert written["accessToken"] == "oauth:written"
    # JSON has no such numbers: a file with one is damaged, and nothing of it is kept.
    if "NaN" not in json.dumps(fields) and "Infinity" not in json.dumps(fields):
        assert {key: value for key, value in written.items() if key not in own} == {
            key: value for key, value in fields.items() if key not in own
        }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_damage_and_can_be_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenStore.json"
    path.write_bytes(content)
    with contextlib.suppress(TokenFileDamaged):
        read_tokens(path)
    TokenStore(path).write("written", None, 60)
    access = read_tokens(path).access
    assert access is not None and access.secret == "written"
