"""On what the benchmarks have run."""

import os
import platform
import re
import shutil
import subprocess
import sysconfig
import time
from pathlib import Path

from tests.processes.service import ROOT
from tests.processes.test_main_job import SAMPLE
from workers.kafka_jars import VERSION

_MODEL = re.compile(r"^model name\s*: (.*)$", re.MULTILINE)


def describe() -> dict[str, str]:
    """What the figures depend on, in words."""
    facts = {
        "cores": str(os.cpu_count()),
        "CPU": _cpu_model(),
        "kernel": platform.release(),
        "Python": f"{platform.python_version()}, {'optimised' if is_optimised() else 'a plain build'}",
        "Node": _said_by("node", "--version"),
        "Kafka": VERSION,
        "chat": "real lines" if SAMPLE.exists() else "made up",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": _said_by("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
    }
    return {name: fact for name, fact in facts.items() if fact}


def is_optimised() -> bool:
    """Whether the interpreter was built with a profile of its own work."""
    if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""):
        return True
    # Debian and its descendants do it by a way of their own, and take out the flag that every other build
    # by gcc or clang keeps.
    return bool(sysconfig.get_config_var("PGO_PROF_USE_FLAG") == "")


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    found = _MODEL.search(path.read_text()) if path.exists() else None
    return found[1] if found else platform.processor()


def _said_by(*command: str) -> str:
    """Empty where the program is not there, or knows no answer."""
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
