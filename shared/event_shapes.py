"""What a line of each command has besides its tags. Pure."""

from collections.abc import Callable
from typing import Any

from shared.chat_message import ACTION, is_channel
from shared.event_base import TwitchEvent
from shared.irc_line import IrcLine
from shared.twitch_events import (
    EVENTS,
    Ban,
    ClearChat,
    ClearMsg,
    GlobalUserState,
    Notice,
    PrivMsg,
    RoomState,
    Timeout,
    UserState,
    Whisper,
)
from shared.usernotices import UserNotice

SERVER = "tmi.twitch.tv"
"""Who sends what no user wrote."""

Shape = tuple[type[TwitchEvent], dict[str, Any]]
"""The event that a line is, and those of its fields that are not made of a tag."""


def user_prefix(login: str) -> str:
    """Who sends what the user with this login wrote."""
    return f"{login}!{login}@{login}.tmi.twitch.tv"


def _privmsg(line: IrcLine) -> Shape | None:
    login = line.login
    if not login or len(line.params) != 2:
        return None
    values = _in_channel(line, user_prefix(login))
    if values is None:
        return None
    values["user_login"] = login
    _add_text(values, line.params[1])
    if line.tags.get("msg-id") == "highlighted-message":
        values["highlighted"] = True
    return PrivMsg, values


def _usernotice(line: IrcLine) -> Shape | None:
    values = _in_channel(line, SERVER)
    if values is None or len(line.params) > 2:
        return None
    if len(line.params) == 2:
        _add_text(values, line.params[1])
    kind = line.tags.get("msg-id", "")
    if kind == "sharedchatnotice":
        kind = line.tags.get("source-msg-id", "")
    return EVENTS.get("usernotice." + kind, UserNotice), values


def _clearchat(line: IrcLine) -> Shape | None:
    values = _in_channel(line, SERVER)
    if values is None or len(line.params) > 2:
        return None
    if len(line.params) == 1:
        return ClearChat, values
    values["target_user_login"] = line.params[1]
    return Timeout if "ban-duration" in line.tags else Ban, values


def _clearmsg(line: IrcLine) -> Shape | None:
    values = _in_channel(line, SERVER)
    if values is None or len(line.params) != 2:
        return None
    values["text"] = line.params[1]
    return ClearMsg, values


def _notice(line: IrcLine) -> Shape | None:
    if len(line.params) != 2:
        return None
    values = _of_connection(line) if line.params[0] == "*" else _in_channel(line, SERVER)
    if values is None:
        return None
    values["text"] = line.params[1]
    return Notice, values


def _roomstate(line: IrcLine) -> Shape | None:
    values = _in_channel(line, SERVER)
    return None if values is None or len(line.params) != 1 else (RoomState, values)


def _userstate(line: IrcLine) -> Shape | None:
    values = _in_channel(line, SERVER)
    return None if values is None or len(line.params) != 1 else (UserState, values)


def _globaluserstate(line: IrcLine) -> Shape | None:
    return None if line.params else (GlobalUserState, _of_connection(line))


def _whisper(line: IrcLine) -> Shape | None:
    login = line.login
    if not login or len(line.params) != 2:
        return None
    values = {"channel": "", "user_login": login, "recipient_login": line.params[0]}
    if line.prefix != user_prefix(login):
        values["prefix"] = line.prefix
    _add_text(values, line.params[1])
    return Whisper, values


SHAPES: dict[str, Callable[[IrcLine], Shape | None]] = {
    "PRIVMSG": _privmsg,
    "USERNOTICE": _usernotice,
    "CLEARCHAT": _clearchat,
    "CLEARMSG": _clearmsg,
    "NOTICE": _notice,
    "ROOMSTATE": _roomstate,
    "USERSTATE": _userstate,
    "GLOBALUSERSTATE": _globaluserstate,
    "WHISPER": _whisper,
}
"""By command; None for a line that is not what its command should be."""


def _in_channel(line: IrcLine, usual_prefix: str) -> dict[str, Any] | None:
    _, prefix, _, params = line
    if not params:
        return None
    channel = params[0].lower()
    if not is_channel(channel):
        return None
    values: dict[str, Any] = {"channel": channel[1:]}
    if prefix != usual_prefix:
        values["prefix"] = prefix
    if params[0] != channel:
        values["params"] = params
    return values


def _of_connection(line: IrcLine) -> dict[str, Any]:
    return {"channel": ""} if line.prefix == SERVER else {"channel": "", "prefix": line.prefix}


def _add_text(values: dict[str, Any], text: str) -> None:
    if not text.startswith(ACTION):
        values["text"] = text
        return
    text = text[len(ACTION) :]
    values["action"] = True
    if text.endswith("\x01"):
        values["text"] = text[:-1]
    else:
        values["text"] = text
        values["action_unclosed"] = True
