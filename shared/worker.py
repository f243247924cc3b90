"""The life of every worker: settings, log, signals, work, last words."""

import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from loguru import logger

from shared import log_setup, settings
from shared.errors import EXIT_FAILED, ServiceError
from shared.paths import Paths
from shared.settings import Settings
from shared.stopping import Stop

Body = Callable[[Settings, Paths, Stop], None]


def run_worker(program: str, body: Body) -> NoReturn:
    """Run ``body`` as the supervised program of that name, then end the process.

    ``body`` gets the checked settings, the project's paths and the request to stop, and returns when its
    work is done. What was foreseen (ServiceError, OSError) ends in one line, anything else in a traceback
    without values. Exit codes: 0 stopped in order, 1 failed, 2 a setting must be changed.
    """
    log_setup.set_up(program)
    threading.excepthook = _log_failure_of_thread
    paths = Paths.of_project()
    stop = Stop()
    stop.on_signals()
    code = EXIT_FAILED
    try:
        paths.prepare()
        configured = settings.load(paths)
        log_setup.set_up(
            program, configured.log_level, configured.log_format, settings.secrets_of(configured)
        )
        for warning in configured.warnings:
            logger.warning("{}", warning)
        logger.debug("configuration loaded")
        body(configured, paths, stop)
        code = 0
    except ServiceError as error:
        logger.critical("{}", error)
        code = error.exit_code
    except OSError as error:
        logger.critical("cannot go on: {}; check that the file system is writable and not full", error)
    except Exception:  # noqa: BLE001 - the last words of a process
        logger.exception("unexpected error, please report it")
    # The work is done: a late signal must not make a failure of an ordered end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stderr.flush()
    sys.exit(code)


def _log_failure_of_thread(failure: threading.ExceptHookArgs) -> None:
    """Python's own hook would print past the log, with secrets and over many lines."""
    if failure.exc_value is not None:
        name = failure.thread.name if failure.thread else "unknown"
        logger.opt(exception=failure.exc_value).error("unexpected error in thread {}, please report it", name)
