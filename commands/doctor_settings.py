"""Points of `make doctor` about the settings and the channel list."""

from pathlib import Path

from commands.doctor_point import Point, bad, good
from shared import settings
from shared.channel_list import ChannelList, parse_channel_list
from shared.errors import SettingsError
from shared.paths import Paths
from shared.settings import SETTINGS, Settings

# So many channels are named, the others counted.
NAMED = 5


def load(paths: Paths) -> tuple[Point, Settings | None]:
    """The settings and how they are; None where one is not usable."""
    try:
        configured = settings.load(paths)
    except SettingsError as error:
        return bad("settings", str(error), "change it in .env or in the environment"), None
    there = ".env is read" if (paths.root / ".env").exists() else "no .env, none is needed"
    lines = _in_force(configured, paths)
    text = f"{there}; {'these are not the defaults:' if lines else 'all have their defaults'}"
    return good("settings", text, *lines, *(f"warning: {one}" for one in configured.warnings)), configured


def channels(configured: Settings, paths: Paths) -> tuple[Point, tuple[str, ...]]:
    """How the channel list is, and the logins that are wanted, as channel-sync sees it."""
    path = configured.twitch_channels_file
    file = _shown(path, paths)
    listed, problem = _read(path)
    logins = tuple(dict.fromkeys((*configured.twitch_channel, *listed.logins)))
    notes = [f"warning: {warning}" for warning in listed.warnings]
    if not logins:
        remedy = f"write one login a line into {file}"
        if not path.exists():
            remedy = f"cp channels.example.txt {file}, and edit it"
        return bad("channels", f"{file} {problem or 'names no channel'}", remedy, *notes), ()
    if problem:
        notes.append(f"warning: {file} {problem}, only TWITCH_CHANNEL counts")
    sources = [file] if listed.logins else []
    sources += ["TWITCH_CHANNEL"] if configured.twitch_channel else []
    count = f"{len(logins)} channel{'' if len(logins) == 1 else 's'}"
    named = f"{', '.join(logins[:NAMED])}{', …' if len(logins) > NAMED else ''}"
    return good("channels", f"{count} in {' and '.join(sources)}: {named}", *notes), logins


def _read(path: Path) -> tuple[ChannelList, str]:
    """What the file lists, and what is wrong with it as a whole."""
    try:
        return parse_channel_list(path.read_text("utf-8", "replace"), path.name), ""
    except FileNotFoundError:
        return ChannelList((), ()), "is missing"
    except OSError as error:
        return ChannelList((), ()), f"cannot be read ({error.strerror})"


def _in_force(configured: Settings, paths: Paths) -> list[str]:
    """Every setting that is not its default, with where it comes from."""
    try:
        from_file: Settings | None = settings.load(paths, {})
    except SettingsError as error:
        from_file, hidden = None, [f"warning: in .env {error}; the environment has another value"]
    else:
        hidden = []
    lines = []
    for setting in SETTINGS:
        value = _text(getattr(configured, setting.name.lower()), paths)
        if value == _text(setting.parse(setting.default), paths):
            continue
        if from_file is None:
            source = "environment or .env"
        else:
            same = value == _text(getattr(from_file, setting.name.lower()), paths)
            source = ".env" if same else "environment"
        lines.append(f"{setting.name}={'***' if setting.secret else value}  ({source})")
    return lines + hidden


def _text(value: object, paths: Paths) -> str:
    """A setting's value as it is written into .env."""
    if value is None:
        return ""
    if isinstance(value, Path):
        return _shown(value, paths)
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _shown(path: Path, paths: Paths) -> str:
    return str(path.relative_to(paths.root) if path.is_relative_to(paths.root) else path)
