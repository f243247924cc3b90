"""``make record FILE``: keep the raw lines of the wanted channels in files, one for each hour.

``python -m commands.record FILE``. It needs neither Kafka nor the service, and can run beside it. Exit codes:
0 it was ended, 1 a file cannot be written, 2 a setting or an argument must be changed.
"""

import argparse
import sys
from pathlib import Path

from commands.record_signals import stop_on_signals
from shared import log_setup, settings
from shared.channel_list import ChannelList, parse_channel_list
from shared.errors import EXIT_FAILED, ServiceError, SettingsError
from shared.paths import Paths
from shared.settings import Settings
from shared.stopping import Stop

# Twitch's limit for an account.
MAX_CHANNELS = 100
PROGRAM = "record"


def record(pattern: Path, stop: Stop) -> None:
    """Record into the files of that pattern until ``stop`` is requested. Raises ServiceError."""
    # Here, as it takes a moment: the signals are taken already.
    from commands.record_display import Progress
    from commands.record_file import HourFiles, RecordingFailed
    from commands.record_run import Recorder, counted

    if pattern.is_dir():
        raise SettingsError(f"{pattern} is a folder: name a file in it, such as {pattern / 'chat.irc.gz'}")
    if not pattern.parent.is_dir():
        raise SettingsError(f"the folder {pattern.parent} does not exist: make it, or name another one")
    paths = Paths.of_project()
    progress = Progress(PROGRAM)
    configured = settings.load(paths)
    wanted, warnings = wanted_channels(configured)
    for warning in (*configured.warnings, *warnings):
        progress.say(warning)
    files = HourFiles(pattern)
    with progress.shown():
        # Here, so that the log goes where the progress is shown.
        log_setup.set_up(PROGRAM, "warning", configured.log_format, settings.secrets_of(configured))
        try:
            paths.prepare()
        except OSError as error:
            raise RecordingFailed(f"{paths.run} cannot be made: {error.strerror}") from None
        Recorder(configured, paths, wanted, files, progress).run(stop)
    names = (
        files.name if files.files == 1 else f"{counted(files.files, 'file')}, the last one is {files.name}"
    )
    print(f"{PROGRAM}: {counted(files.lines, 'line')} in {names}")


def wanted_channels(configured: Settings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The logins that channel-sync would have read, and warnings. Raises SettingsError."""
    path = configured.twitch_channels_file
    try:
        listed = parse_channel_list(path.read_text("utf-8", "replace"), path.name)
    except FileNotFoundError:
        listed = ChannelList((), ())
    except OSError as error:
        listed = ChannelList((), (f"{path.name} cannot be read: {error.strerror}",))
    logins = tuple(dict.fromkeys((*configured.twitch_channel, *listed.logins)))
    if not logins:
        raise SettingsError(f"there is no channel to record: write one login a line into {path.name}")
    if len(logins) > MAX_CHANNELS:
        raise SettingsError(
            f"{len(logins)} channels are too many: Twitch allows {MAX_CHANNELS} a connection; name another "
            "list by TWITCH_CHANNELS_FILE=…"
        )
    return logins, listed.warnings


def parse_arguments() -> argparse.Namespace:
    """What the user asked for; ends the process where that is not possible."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.record",
        description="Keep the raw lines of the wanted channels, as Twitch sends them, until Ctrl-C.",
        epilog="The channels are those of the channel list and of TWITCH_CHANNEL at the start, 100 at most; "
        "to follow a change start it again, it goes on in the same file. A kill or a power cut costs "
        "seconds. make replay brings the files into Kafka.",
    )
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="chat.irc.gz makes chat-2026-11-25T15.irc.gz and so on, a file for each hour of UTC; without "
        ".gz they are not compressed",
    )
    return parser.parse_args()


def main() -> int:
    """Run the command; gives the exit code."""
    arguments = parse_arguments()
    stop = Stop()
    stop_on_signals(stop)
    try:
        record(arguments.file, stop)
    except ServiceError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(
            f"{PROGRAM}: {error.filename or 'the output'} cannot be used: {error.strerror}", file=sys.stderr
        )
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
