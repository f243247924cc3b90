"""Points of `make doctor` about Python and its packages.

Of the standard library only: they are looked at before anything is imported that may be missing.
"""

import re
import sys
from importlib import metadata
from pathlib import Path

from commands.doctor_point import Point, bad, good

FILES = ("requirements.txt", "requirements-embedded.txt")
OLDEST = (3, 11)
_PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;#]+)")


def python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Point:
    """Whether this Python is new enough."""
    text = ".".join(map(str, version))
    if version < OLDEST:
        newest = ".".join(map(str, OLDEST))
        remedy = f"install Python {newest} or newer, then `make clean` and `make setup PYTHON=python{newest}`"
        return bad("python", f"{text}, {newest} or newer is needed", remedy)
    return good("python", text)


def packages(root: Path) -> Point:
    """Whether the packages have the versions that the requirements files pin."""
    count, wrong = 0, []
    for name in FILES:
        try:
            pins = _PIN.findall("\n".join(_lines(root / name)))
        except OSError as error:
            remedy = f"bring it back: git checkout {name}"
            return bad("packages", f"{name} cannot be read ({error.strerror})", remedy)
        count += len(pins)
        wrong += [text for text in (_difference(name, *pin) for pin in pins) if text]
    if wrong:
        files = " ".join(f"-r {name}" for name in FILES)
        return bad("packages", "; ".join(wrong), f"{_interpreter(root)} -m pip install {files}")
    return good("packages", f"all {count} have the versions of {' and '.join(FILES)}")


def _lines(path: Path) -> list[str]:
    text = path.read_text("utf-8", "replace")
    return [line for line in map(str.strip, text.splitlines()) if line and line[0] not in "#-"]


def _difference(file: str, package: str, wanted: str) -> str:
    try:
        installed = metadata.version(package)
    except metadata.PackageNotFoundError:
        return f"{package} is missing, {file} has {wanted}"
    return "" if installed == wanted else f"{package} is {installed}, {file} has {wanted}"


def _interpreter(root: Path) -> str:
    """The one that runs this, as short as it can be entered in the project's folder."""
    path = Path(sys.executable)
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
