"""What the sign-in server tells: for every outcome a page for the browser and a line for the log. Pure.

Pages are HTML5 without JavaScript. Every value that comes from elsewhere goes through ``_html``, which
escapes it.
"""

import base64
import hashlib
from dataclasses import dataclass
from html import escape

from commands.sign_in import CONSOLE, SignedIn

LONGEST_FOREIGN_TEXT = 200
_STYLE = """
:root { color-scheme: light dark; --back: #f4f2f8; --card: #fff; --text: #1d1b22; --dim: #5d5868;
  --line: #dcd7e5; --code: #efebf6; --accent: #6d28d9; --on-accent: #fff; --good: #12743b; --bad: #b3261e;
  --warn: #7a4d00; --warn-back: #fff4dc; }
@media (prefers-color-scheme: dark) { :root { --back: #141218; --card: #1f1c25; --text: #ece8f2;
  --dim: #aaa3b8; --line: #3a3544; --code: #2b2733; --accent: #b794f6; --on-accent: #1d1330; --good: #6dd598;
  --bad: #ff8f85; --warn: #f3cd85; --warn-back: #35290f; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1rem; min-height: 100vh; display: flex; justify-content: center;
  align-items: flex-start; background: var(--back); color: var(--text);
  font: 1.0625rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { width: 100%; max-width: 38rem; margin: min(7vh, 4.5rem) 0; padding: clamp(1.25rem, 5vw, 2.5rem);
  background: var(--card); border: 1px solid var(--line); border-radius: .9rem; overflow-wrap: anywhere; }
.mark { width: 2.75rem; height: 2.75rem; margin: 0 0 1rem; border: 2px solid; border-radius: 50%;
  font-size: 1.4rem; font-weight: 700; line-height: 2.5rem; text-align: center; }
.good { color: var(--good); } .bad { color: var(--bad); }
h1 { margin: 0 0 1rem; font-size: clamp(1.35rem, 5vw, 1.7rem); line-height: 1.25;
  text-wrap: balance; }
p, ol, ul, dl { margin: 0 0 1rem; } ol, ul { padding-left: 1.4rem; } li { margin-bottom: .5rem; }
dt { color: var(--dim); font-size: .95rem; } dd { margin: 0 0 .75rem; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .5rem 1.25rem; align-items: baseline; }
.facts dd { margin: 0; }
code { padding: .1em .35em; border-radius: .3rem; background: var(--code);
  -webkit-box-decoration-break: clone; box-decoration-break: clone; font: .92em ui-monospace,
  "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.warning { padding: .7rem 1rem; border-left: .25rem solid; border-radius: .3rem; color: var(--warn);
  background: var(--warn-back); }
a { color: var(--accent); }
.button { display: inline-block; padding: .6rem 1.15rem; border-radius: .5rem; background: var(--accent);
  color: var(--on-accent); font-weight: 600; text-decoration: none; }
.button:focus-visible, a:focus-visible { outline: 3px solid var(--text); outline-offset: 2px; }
.note { color: var(--dim); font-size: .95rem; } main > :last-child { margin-bottom: 0; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - Twitch sign-in</title>
<style>{style}</style>
</head>
<body>
<main>
<p class="mark {tone}" aria-hidden="true">{mark}</p>
<h1>{heading}</h1>
{body}
</main>
</body>
</html>
"""
_CONSOLE_LINK = f'<a href="{CONSOLE}">{CONSOLE.removeprefix("https://")}</a>'
_BEGIN = '<p><a class="button" href="/auth">{text}</a></p>'

HEADERS = {
    # Nothing is loaded, sent or run; the one style sheet is known by its hash.
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    # The address of the callback holds the code.
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""For every answer of the server."""


@dataclass(frozen=True)
class Page:
    """One outcome: HTTP status, heading (text), body (HTML), and the log's line, empty for none."""

    status: int
    heading: str
    body: str
    line: str

    @property
    def document(self) -> str:
        """The whole page as HTML."""
        good = self.status == 200
        return _DOCUMENT.format(
            title=escape(self.heading.rstrip(".")),
            style=_STYLE,
            tone="good" if good else "bad",
            mark="✓" if good else "!",
            heading=escape(self.heading),
            body=self.body,
        )


def plain(text: str) -> str:
    """What came from elsewhere, as it may stand in one line of a log."""
    return "".join(letter for letter in text if letter.isprintable())[:LONGEST_FOREIGN_TEXT]


def saved(signed_in: SignedIn, keeps_on: bool) -> Page:
    """The tokens are in the file; ``keeps_on`` when the server stays."""
    facts = (
        "<dl class='facts'><dt>Account</dt><dd><strong>{login}</strong></dd>"
        "<dt>Scopes</dt><dd><code>{scopes}</code></dd><dt>File</dt><dd><code>{file}</code></dd></dl>"
    )
    warnings = "".join(_html('<p class="warning">{text}.</p>', text=text) for text in signed_in.warnings)
    end = (
        "The sign-in server runs on."
        if keeps_on
        else "You can close this page, the sign-in server has ended."
    )
    body = (
        _html(facts, login=signed_in.login, scopes=signed_in.scopes, file=signed_in.file_name)
        + warnings
        + _html("<p>A running service takes them at its next login to the chat. {end}</p>", end=end)
        + (_begin("Sign in again") if keeps_on else "")
    )
    return Page(200, "Tokens saved successfully.", body, "")


def missing(names: tuple[str, ...], redirect_uri: str) -> Page:
    """Settings of the application are missing, so nobody can be sent to Twitch."""
    body = _html(
        f"<ol><li>Register an application at {_CONSOLE_LINK}, client type Confidential, "
        "with the OAuth redirect URL <code>{uri}</code>, to the letter.</li>",
        uri=redirect_uri,
    )
    body += f"<li>Set {' and '.join(_html('<code>{name}</code>', name=name) for name in names)} in the file "
    body += (
        "<code>.env</code> in the project's folder (or in the environment) to what Twitch shows there.</li>"
        "<li>End the sign-in server with Ctrl-C and start <code>make auth</code> again.</li></ol>"
        "<p class='note'>Another way is <code>make auth-device</code>: it needs no client secret, and no "
        "browser on this machine.</p>"
    )
    return Page(500, "Settings of the application are missing", body, missing_line(names))


def missing_line(names: tuple[str, ...]) -> str:
    """What the log says about missing settings."""
    return (
        f"{' and '.join(names)} must be set in .env first ({CONSOLE} shows them), then start `make auth` "
        "anew; `make auth-device` needs no secret"
    )


def denied() -> Page:
    """The user said no."""
    body = "<p>Nothing was changed. If it was a mistake, begin again.</p>" + _begin()
    return Page(
        400, "You did not allow it", body, "the sign-in was not allowed at Twitch, nothing was changed"
    )


def error_of_twitch(error: str, description: str) -> Page:
    """Twitch sent the browser back with an error that has no page of its own."""
    body = (
        _html(
            "<p>It says <code>{error}</code>: {description}</p>",
            error=error,
            description=description or "no more than that.",
        )
        + _begin()
    )
    line = f"Twitch reports an error: {plain(error)}: {plain(description)}; begin again at /auth"
    return Page(400, "Twitch reports an error", body, line)


def mismatch(redirect_uri: str, reason: str, seen: str | None = None) -> Page:
    """Twitch knows another redirect URI; ``seen`` is where it sent the browser, None for the right one."""
    body = _html(
        "<p>The redirect URI must equal the one that is registered with Twitch to the letter: "
        "scheme, host, port, path, and the slash at the end.</p><dl><dt><code>TWITCH_REDIRECT_URI</code> is"
        "</dt><dd><code>{uri}</code></dd>",
        uri=redirect_uri,
    )
    if seen is not None:
        body += _html("<dt>Registered seems to be</dt><dd><code>{seen}</code></dd>", seen=plain(seen))
    body += _html(
        "<dt>Twitch says</dt><dd>{reason}</dd></dl>"
        f"<p>Change it at {_CONSOLE_LINK} and begin again, or change <code>TWITCH_REDIRECT_URI</code> in "
        "<code>.env</code> and start <code>make auth</code> anew.</p>",
        reason=reason or "no more than that",
    )
    registered = f", which seems to be {plain(seen)}" if seen else ""
    line = (
        f"redirect URI mismatch: TWITCH_REDIRECT_URI={redirect_uri} must equal the one registered at "
        f"{CONSOLE} to the letter{registered}; Twitch says: {plain(reason)}"
    )
    return Page(400, "Twitch reports a redirect URI mismatch", body + _begin(), line)


def wrong_state() -> Page:
    """Not the end of a sign-in that this server began, or one that is over."""
    body = (
        "<p>Each sign-in can be finished once, within ten minutes, and only with the server that began it. "
        "This one is over, or was begun elsewhere. Nothing was changed.</p>" + _begin()
    )
    line = (
        "a sign-in came back that was not begun here, or is over: nothing was changed; begin again at /auth"
    )
    return Page(400, "This sign-in cannot be used", body, line)


def refused(reason: str) -> Page:
    """Twitch did not take the code, or the application."""
    body = (
        _html("<p>It says: {reason}. Nothing was changed.</p>", reason=reason)
        + "<p>If it speaks of the client, check <code>TWITCH_CLIENT_ID</code> and "
        "<code>TWITCH_CLIENT_SECRET</code>; otherwise begin again.</p>" + _begin()
    )
    line = f"Twitch refuses the sign-in: {plain(reason)}; check TWITCH_CLIENT_ID and TWITCH_CLIENT_SECRET"
    return Page(400, "Twitch refuses the sign-in", body, f"{line}, or begin again at /auth")


def unavailable(reason: str) -> Page:
    """Twitch's sign-in is in trouble."""
    body = _html("<p>{reason}. Nothing was changed. Wait a moment and try again.</p>", reason=reason)
    line = f"the sign-in failed: {reason}; try again at /auth"
    return Page(503, "Twitch cannot be reached now", body + _begin("Try again"), line)


def not_stored(file_name: str, reason: str) -> Page:
    """The token file cannot be written."""
    body = (
        _html("<p><code>{file}</code> cannot be written: {reason}.</p>", file=file_name, reason=reason)
        + "<p>The file is as it was. Mend that (is the disk full, may this user write there?), then sign in "
        "again.</p>" + _begin("Sign in again")
    )
    line = f"{file_name} cannot be written ({reason}), NO tokens were saved: mend that, begin again at /auth"
    return Page(500, "The tokens were not saved", body, line)


def stopped() -> Page:
    """The server was told to end meanwhile."""
    body = "<p>The sign-in server was ended before this was done. Start <code>make auth</code> again.</p>"
    return Page(503, "The sign-in was broken off", body, "")


def unexpected() -> Page:
    """A bug."""
    body = "<p>The log of <code>make auth</code> says more; please report it.</p>" + _begin("Try again")
    return Page(500, "An unexpected error", body, "")


def not_served(status: int) -> Page:
    """A request that is no step of a sign-in made by a person: 400 host, 403 not a visit, 404, 405 method."""
    heading, text = {
        400: ("This address is not served", "<p>Use the address that <code>make auth</code> printed.</p>"),
        403: (
            "Open this page yourself",
            "<p>It is not for other pages, nor to be fetched ahead.</p>" + _begin(),
        ),
        404: ("There is nothing here", _begin("Begin to sign in")),
        405: ("Only GET is served", ""),
    }[status]
    return Page(status, heading, text, "")


def _html(template: str, **values: str) -> str:
    return template.format_map({name: escape(value) for name, value in values.items()})


def _begin(text: str = "Begin again") -> str:
    return _html(_BEGIN, text=text)
