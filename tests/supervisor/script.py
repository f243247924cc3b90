"""Loads the scripts of the folder ``supervisor/``, which is no package."""

import importlib.util
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent.parent / "supervisor"


def load_script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"script_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
