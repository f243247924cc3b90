"""The token of the moment: the fixed one, else the file's, else none (anonymous)."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec


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


@dataclass(frozen=True)
class TokenOfTheMoment:
    """What to log in with now; ``token`` None means anonymously, ``warning`` says why it is a surprise."""

    token: Token | None
    warning: str | None = None


def token_of_the_moment(fixed_token: str, path: Path) -> TokenOfTheMoment:
    """Read the token anew: ``fixed_token`` (setting ``TWITCH_OAUTH_TOKEN``, empty for none) before the file.

    Never raises: a file that cannot be read means anonymous, with a warning.
    """
    if fixed_token:
        return _checked(fixed_token, "TWITCH_OAUTH_TOKEN")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return TokenOfTheMoment(None)
    except OSError as error:
        return TokenOfTheMoment(None, f"{path.name} cannot be read ({error.strerror})")
    try:
        stored = msgspec.json.decode(content)
        access_token = stored["accessToken"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return TokenOfTheMoment(None, f"{path.name} holds no accessToken")
    return _checked(access_token, path.name)


def _checked(text: object, source: str) -> TokenOfTheMoment:
    if not isinstance(text, str):
        return TokenOfTheMoment(None, f"the token of {source} is no text")
    secret = text.strip()
    if secret[:6].lower() == "oauth:":
        secret = secret[6:]
    # Blanks or line ends in a PASS would be commands of their own.
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        return TokenOfTheMoment(None, f"the token of {source} is not one line of letters and digits")
    return TokenOfTheMoment(Token(secret, source))
