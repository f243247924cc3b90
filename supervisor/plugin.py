"""Brings ``preload.py`` into supervisord. ASCII only: who reads it goes by the locale.

A plugin is named in the conf as ``module:function``, and called as ``function(Supervisor, key=value)``.
The module is looked for where supervisord's own ones are, not here. So the conf names a function of the
standard library, ``optparse.Values.read_file``: with the Supervisor in the place of ``self`` it executes this
file, then calls ``_update`` of that ``self``. Nothing has to be installed for it.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

NAME = "supervisor_preload"


def _install(supervisord: Any) -> None:
    root = supervisord.options.here
    # `supervisorctl reload` comes here again, and what was loaded is still loaded.
    module = sys.modules.get(NAME)
    if module is None:
        spec = importlib.util.spec_from_file_location(NAME, Path(root, "supervisor", "preload.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[NAME] = module
    module.install(supervisord, root)


_supervisord: Any = sys._getframe(1).f_locals["self"]
_supervisord._update = lambda _variables, _mode: None
try:
    _install(_supervisord)
except Exception as error:  # noqa: BLE001 - supervisord is needed more than this
    _supervisord.options.logger.warn(f"preload: does not work: {error!r}")
