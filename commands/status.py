"""``make status``: how the service is, as tables in the terminal.

``python -m commands.status [--watch] [--json]``. Exit codes: 0 all is well, 1 something is not or nobody
answers, 2 a setting must be changed.
"""

import argparse
import contextlib
import signal
import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from commands.monitor_client import MonitorClient
from commands.status_tables import show
from shared import settings
from shared.errors import EXIT_FAILED, MonitorUnavailable, ServiceError
from shared.paths import Paths
from shared.settings import Settings

EVERY_SECONDS = 2.0
# Where no terminal says how wide it is, a line of the table is one line.
WIDTH = 160


def once(configured: Settings, as_json: bool) -> int:
    """Show it; the exit code. Raises MonitorUnavailable."""
    with MonitorClient(configured) as monitor:
        if as_json:
            sys.stdout.write(monitor.status().decode() + "\n")
        overview = monitor.overview()
    if not as_json:
        console().print(show(overview))
    return 0 if overview.well else EXIT_FAILED


def watch(configured: Settings) -> int:
    """Show it until a signal comes, anew every two seconds; the exit code is of the last look."""
    well = False
    screen = console()
    shown = Group()
    with (
        MonitorClient(configured) as monitor,
        Live(console=screen, screen=screen.is_terminal, auto_refresh=False) as live,
        contextlib.suppress(KeyboardInterrupt),
    ):
        while True:
            try:
                overview = monitor.overview()
                height = screen.size.height if screen.is_terminal else None
                well, shown = overview.well, Group(show(overview, height))
                live.update(shown, refresh=True)
            except MonitorUnavailable as error:
                well = False
                live.update(Group(Text(f"✗ {error}", style="bold red"), Text(""), shown), refresh=True)
            time.sleep(EVERY_SECONDS)
    return 0 if well else EXIT_FAILED


def console() -> Console:
    """Standard output; in colours only on a terminal, and not where NO_COLOR is set."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDTH)


def main() -> int:
    """Run the command; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m commands.status", description="Show how the service is.")
    parser.add_argument("--watch", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="the JSON of the monitor's /api/status")
    arguments = parser.parse_args()
    if arguments.watch and arguments.json:
        parser.error("--watch and --json do not go together")
    # A shell that starts the command in the background has SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    try:
        configured = settings.load(Paths.of_project())
        return watch(configured) if arguments.watch else once(configured, arguments.json)
    except ServiceError as error:
        print(f"status: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
