"""``make doctor``: looks at everything that the service needs, and says what to do where it is not well.

``python -m commands.doctor [--wait SECONDS]``. Exit codes: 0 nothing is wrong, 1 something is, 2 a setting
must be changed first.
"""

import argparse
import math
import signal
import sys

from commands.doctor_packages import packages, python
from shared.errors import EXIT_FAILED
from shared.paths import Paths

WAIT_SECONDS = 30.0


def look(wait_seconds: float) -> int:
    """Look at everything; the exit code."""
    paths = Paths.of_project()
    first = (python(), packages(paths.root))
    try:
        # Here, so that a package that is missing is a line, and Ctrl-C while they load is none.
        from commands.doctor_checks import Checks
    except ImportError as error:
        for point in first:
            print(point.sign, point.name, point.text, point.remedy and f"→ {point.remedy}")
        print(f"the rest cannot be tried: {error}")
        return EXIT_FAILED
    return Checks(paths, wait_seconds).run(first)


def parse_arguments() -> argparse.Namespace:
    """What the user asked for; ends the process where that is not possible."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.doctor",
        description="Look at everything that the service needs: a line for each point, with what to do where "
        "it is not well. ✓ is well, ✗ is not, – could not be tried. The service may run or not, it is not "
        "disturbed; a token is never renewed.",
        epilog="With make: make doctor ARGS='--wait 60'. Exit codes: 0 nothing is wrong, 1 something is, 2 a "
        "setting must be changed first. Colours are left out where NO_COLOR is set.",
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=WAIT_SECONDS,
        metavar="SECONDS",
        help=f"how long to wait for a chat message; {WAIT_SECONDS:g} if not given",
    )
    return parser.parse_args()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds, 0 to 3600")
    return seconds


def main() -> int:
    """Run the command; gives the exit code."""
    # A shell that starts the command in the background has SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    try:
        return look(parse_arguments().wait)
    except KeyboardInterrupt:
        print("doctor: stopped before the end", file=sys.stderr)
        return EXIT_FAILED
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
