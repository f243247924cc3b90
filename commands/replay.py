"""``make replay FILE…``: play recorded lines into Kafka, with their own timestamps and ids.

``python -m commands.replay FILE…``. What is in the topics already is left out. Exit codes: 0 all that could
be read is in Kafka; 1 it was ended early, Kafka could not be used, or a file could not be read; 2 a setting
or an argument must be changed.
"""

import argparse
import os
import sys
from pathlib import Path

from commands.record_signals import stop_on_signals
from shared.errors import EXIT_FAILED, ServiceError, SettingsError
from shared.stopping import Stop

PROGRAM = "replay"


def check(files: list[Path]) -> None:
    """Raise SettingsError for what is no file that can be read."""
    for path in files:
        if path.is_dir():
            raise SettingsError(f"{path} is a folder: name the files in it, such as {path / '*.irc.gz'}")
        if not path.exists():
            raise SettingsError(f"{path} does not exist")
        if not path.is_file():
            raise SettingsError(f"{path} is no file: it has to be read more than once")
        if not os.access(path, os.R_OK):
            raise SettingsError(f"{path} may not be read by this user")


def parse_arguments() -> argparse.Namespace:
    """What the user asked for; ends the process where that is not possible."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.replay",
        description="Play raw lines of Twitch into Kafka, by the rules of the service and with their own "
        "timestamps and ids. What is in the topics already is left out, so it can be run again at any time.",
        epilog="Name the files in the order of their times. Replayed records stand behind what is in the "
        "topics. A million of them needs about 100 MB of memory; files are taken together up to that many. "
        "Beside a service that reads the same channels replay what is older than a minute: what the service "
        "has read and not yet brought to Kafka cannot be known, and would be there twice, with the same id.",
    )
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="plain or gzip; of make record, or one line each"
    )
    return parser.parse_args()


def main() -> int:
    """Run the command; gives the exit code."""
    arguments = parse_arguments()
    stop = Stop()
    stop_on_signals(stop)
    try:
        check(arguments.files)
        # Here, as it takes a moment: the signals are taken and the files known.
        from commands.replay_run import replay

        return 0 if replay(arguments.files, stop) else EXIT_FAILED
    except ServiceError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"{PROGRAM}: {error.filename or 'a file'} cannot be read: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
