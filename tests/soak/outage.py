"""The end of supervisord by SIGKILL, and its return once the old workers have gone by themselves."""

import signal
import subprocess
import time

import psutil

from tests.soak.stage import Stage

MOST_OFTEN_SECONDS = 240.0
# Every worker has its 5 s, one after the other in the worst case; the broker takes longer.
GONE_WITHIN_SECONDS = 60.0


def may_kill_supervisord(stage: Stage) -> bool:
    """Not again too soon, and not while the broker is to be started by it."""
    return "broker" not in stage.busy and time.monotonic() - stage.outage_at >= MOST_OFTEN_SECONDS


def kill_supervisord(stage: Stage) -> str | None:
    """Kill it; what was hung goes on first, because a hung worker cannot end by itself."""
    stage.wake_hung()
    (window,) = windows = stage.away(None)
    if not stage.signal("supervisord", signal.SIGKILL):
        stage.was_there(windows)
        return None
    stage.outage_at = window.began
    stage.later(0.5, lambda: _start_again(stage, window.began + GONE_WITHIN_SECONDS))
    return "supervisord"


def _start_again(stage: Stage, deadline: float) -> None:
    left = stage.service.processes()
    if left and time.monotonic() < deadline:
        stage.later(0.5, lambda: _start_again(stage, deadline))
        return
    for process in left:
        stage.notes[f"still there {GONE_WITHIN_SECONDS:.0f} s after supervisord's end: {_name(process)}"] += 1
        process.kill()
    try:
        stage.service.start()
    except subprocess.SubprocessError:
        stage.notes["supervisord did not start"] += 1
        stage.later(2.0, lambda: _start_again(stage, deadline))


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[1:4])
    except psutil.Error:
        return str(process.pid)
