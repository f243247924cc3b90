"""The supervised program ``watchdog``: an event listener of supervisord.

supervisord stops its programs one after the other and lets up to a second pass for each. When it begins to
shut down, this listener asks all readers at once to stop, and wakes supervisord whenever it would sleep. A
listener is the last that is stopped.
"""

import os
import selectors
import signal
import sys
import time
from pathlib import Path

from loguru import logger
from supervisor import childutils
from supervisor.xmlrpc import SupervisorTransport

from shared.paths import Paths
from shared.settings import Settings
from shared.status_file import StatusFile
from shared.stopping import Stop
from shared.worker import run_worker

PROGRAM = "watchdog"
STOPPING_EVENT = "SUPERVISOR_STATE_CHANGE_STOPPING"
WAKE_SECONDS = 0.02
# supervisord kills what takes longer than its stopwaitsecs; nothing is left to wake it for after that.
WAKE_FOR_SECONDS = 60.0


def readers_of(supervisord: int) -> list[int]:
    """Process ids of the readers among supervisord's children; empty where the kernel does not tell."""
    try:
        children = Path(f"/proc/{supervisord}/task/{supervisord}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in children if _is_reader(child)]


def _is_reader(child: str) -> bool:
    try:
        return b"workers.reader" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def speed_up_the_stop(paths: Paths, stop: Stop) -> None:
    """Ask all readers to stop, then wake supervisord until it has stopped everything, this one at last."""
    for reader in readers_of(os.getppid()):
        os.kill(reader, signal.SIGUSR1)
    transport = SupervisorTransport(None, None, serverurl=f"unix://{paths.supervisor_socket}")
    end = time.monotonic() + WAKE_FOR_SECONDS
    while not stop.requested and time.monotonic() < end:
        try:
            # Any request wakes it; the answer is that it shuts down.
            transport.request("127.0.0.1", "/RPC2", b"<methodCall><methodName>x</methodName></methodCall>")
        except OSError:
            return
        except Exception as fault:  # noqa: BLE001 - the fault that says so, or half an answer
            logger.trace("{}", fault)
        time.sleep(WAKE_SECONDS)


def main(settings: Settings, paths: Paths, stop: Stop) -> None:
    """Listen to supervisord's events until ``stop`` is requested or supervisord closes the pipe."""
    del settings
    selector = selectors.DefaultSelector()
    selector.register(stop, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    status = StatusFile(paths.status, PROGRAM)
    childutils.listener.ready(sys.stdout)
    while not stop.requested:
        wait = status.update(dict)
        if sys.stdin not in [key.fileobj for key, _events in selector.select(wait)]:
            continue
        line = sys.stdin.readline()
        if not line:
            break
        header = childutils.get_headers(line)
        sys.stdin.read(int(header["len"]))
        if header["eventname"] == STOPPING_EVENT:
            childutils.listener.ok(sys.stdout)
            speed_up_the_stop(paths, stop)
        else:
            childutils.listener.ok(sys.stdout)
        childutils.listener.ready(sys.stdout)
    status.remove()


if __name__ == "__main__":
    run_worker(PROGRAM, main)
