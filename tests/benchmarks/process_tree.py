"""What a process and all below it take of the machine."""

import contextlib
import re
import time
from pathlib import Path
from typing import NamedTuple

import psutil

_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)
# Of clock_getcpuclockid(3): the time of a whole process in nanoseconds. What /proc tells is in steps of
# 10 ms, too coarse for fifty processes that do next to nothing.
_CPUCLOCK_SCHED = 2


class Usage(NamedTuple):
    """``cpu_seconds`` includes those of processes that have ended; ``pss`` bytes share out what is shared."""

    cpu_seconds: float
    pss: int
    processes: int
    root_cpu_seconds: float
    """Of the root alone, as is the next."""
    root_pss: int


def usage(root: int, with_memory: bool = False) -> Usage:
    """Of the tree below, and with, the process ``root``."""
    seconds, pss, count = 0.0, 0, 0
    root_seconds, root_pss = 0.0, 0
    parent = psutil.Process(root)
    for process in [parent, *parent.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            own = time.clock_gettime(~process.pid << 3 | _CPUCLOCK_SCHED)
            times = process.cpu_times()
            # Those of children count once they were waited for, which is when they are gone from the tree.
            seconds += own + times.children_user + times.children_system
            count += 1
            own_pss = _pss_of(process.pid) if with_memory else 0
            pss += own_pss
            if process.pid == root:
                root_seconds, root_pss = own, own_pss
    return Usage(seconds, pss, count, root_seconds, root_pss)


def runs(root: int) -> bool:
    """False once the process has ended, waited for or not."""
    try:
        return psutil.Process(root).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _pss_of(pid: int) -> int:
    found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return int(found[1]) * 1024 if found else 0
