"""The token of the moment: the fixed one, else the file's, else none (anonymous).

All rules about what a usable token is and which one counts are here, what to advise is in
``shared/token_advice.py``. The file is
``{"accessToken": "oauth:…", "refreshToken": "…", "expiresAt": <Unix ms>}``; whoever writes it does so by
``shared/token_store.py``.
"""

import errno
import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from shared.errors import TokenFileDamaged

USUAL_LIFE_SECONDS = 4 * 3600.0
"""What an access token of Twitch lives, where nothing says so."""
# A real token is letters and digits only; nothing here can match one.
PLACEHOLDER = re.compile(
    r"(oauth:)?(<.*>|\.\.\.|…|x+|\*+|token|changeme|yourtoken(here)?|"
    r"(your|my|the|a|insert|put|paste|enter|replace|change|access|oauth|refresh)[-_ ].*)?",
    re.IGNORECASE,
)
# Twitch's access tokens have 30 characters (https://dev.twitch.tv/docs/authentication/).
USUAL_LENGTH = 30
_SHORTEST = 20
_MAX_BYTES = 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Token:
    """An access token without its ``oauth:``; its repr does not show it."""

    secret: str = field(repr=False)
    source: str
    """Where it came from, for logs: the name of a setting or of a file."""

    @property
    def password(self) -> str:
        """As Twitch's PASS wants it."""
        return f"oauth:{self.secret}"

    @property
    def fingerprint(self) -> str:
        """Tells tokens apart in file names and logs, and does not lead back to the token."""
        return hashlib.sha256(self.secret.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class TokenOfTheMoment:
    """What to log in with now; ``token`` None means anonymously.

    ``warning`` is what the user should know about it, without an end: a clause may follow. None for nothing.
    """

    token: Token | None
    warning: str | None = None


@dataclass(frozen=True)
class StoredTokens:
    """What the token file holds; None for what it does not hold, or not usably.

    ``warning`` as in ``TokenOfTheMoment``. The repr shows no token.
    """

    access: Token | None
    refresh_token: str | None = field(repr=False)
    expires_at_ms: int | None
    warning: str | None = None

    def same_tokens(self, other: "StoredTokens") -> bool:
        """Whether both tokens are those of the other; when they expire and what is said of them aside."""
        return self.access == other.access and self.refresh_token == other.refresh_token


def token_of_the_moment(fixed_token: str, path: Path) -> TokenOfTheMoment:
    """Read the token anew: ``fixed_token`` (setting ``TWITCH_OAUTH_TOKEN``, empty for none) before the file.

    Never raises: a file that cannot be read means anonymous, with a warning.
    """
    if fixed_token:
        return _checked(fixed_token, "TWITCH_OAUTH_TOKEN")
    try:
        stored = read_tokens(path)
    except FileNotFoundError:
        return TokenOfTheMoment(None)
    except OSError as error:
        return TokenOfTheMoment(None, f"{path.name} cannot be read ({error.strerror})")
    except TokenFileDamaged as error:
        return TokenOfTheMoment(None, str(error))
    return TokenOfTheMoment(stored.access, stored.warning)


def read_tokens(path: Path) -> StoredTokens:
    """Read the token file. Raises OSError, or TokenFileDamaged when it holds neither of the two tokens."""
    fields = read_fields(path)
    name = path.name
    access = _checked(_value(fields, "accessToken"), name)
    refresh_token = _checked_refresh_token(_value(fields, "refreshToken"))
    if access.token is None and refresh_token is None:
        raise TokenFileDamaged(access.warning or f"{name} holds no accessToken")
    expires_at_ms = _value(fields, "expiresAt")
    if isinstance(expires_at_ms, bool) or not isinstance(expires_at_ms, int):
        expires_at_ms = None
    return StoredTokens(access.token, refresh_token, expires_at_ms, access.warning)


def read_fields(path: Path) -> dict[str, msgspec.Raw]:
    """The file's JSON object, its values as they stand there. Raises OSError, or TokenFileDamaged."""
    content = read_content(path)
    try:
        # Editors of some systems put the mark in front.
        return msgspec.json.decode(content.removeprefix(_BYTE_ORDER_MARK), type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TokenFileDamaged(f"{path.name} is no JSON object with an accessToken") from None


def read_content(path: Path) -> bytes:
    """The bytes of the file. Raises OSError, also for a folder, a named pipe, and what is over 1 MiB."""
    # Non-blocking: a named pipe would make everybody wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise FileExistsError(errno.EEXIST, "what is in its place is no file")
        if found.st_size > _MAX_BYTES:
            raise OSError(errno.EFBIG, "it is too large for a token file")
        return os.read(descriptor, _MAX_BYTES)
    finally:
        os.close(descriptor)


def _value(fields: dict[str, msgspec.Raw], name: str) -> Any:
    try:
        return msgspec.json.decode(fields[name])
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _checked(text: object, source: str) -> TokenOfTheMoment:
    if text is None:
        return TokenOfTheMoment(None, f"{source} holds no accessToken")
    if not isinstance(text, str):
        return TokenOfTheMoment(None, f"the token of {source} is no text")
    secret = text.strip()
    if PLACEHOLDER.fullmatch(secret):
        return TokenOfTheMoment(None, f"the token of {source} is a placeholder, it is ignored")
    if secret[:6].lower() == "oauth:":
        secret = secret[6:]
    if not is_one_word(secret):
        return TokenOfTheMoment(None, f"the token of {source} is not one line of letters and digits")
    warning = None
    if len(secret) < _SHORTEST:
        warning = (
            f"the token of {source} has {len(secret)} characters, Twitch's have {USUAL_LENGTH}: is it whole?"
        )
    return TokenOfTheMoment(Token(secret, source), warning)


def _checked_refresh_token(text: object) -> str | None:
    refresh_token = text.strip() if isinstance(text, str) else ""
    usable = is_one_word(refresh_token) and not PLACEHOLDER.fullmatch(refresh_token)
    return refresh_token if usable else None


def is_one_word(text: str) -> bool:
    """Whether it can be a token: letters, digits and signs of ASCII."""
    # Blanks or line ends in a PASS would be commands of their own.
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
