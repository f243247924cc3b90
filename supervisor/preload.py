"""Part of supervisord: starts the workers as forks of it, which have loaded already what a reader needs.

A hundred readers so share the memory of their modules, and a start takes no imports. supervisord forks for
every start anyway, and the fork executes ``start-worker``; here it goes on as the worker instead. Where that
cannot be, as after an upgrade, when a file is not the one any more that was loaded, ``start-worker`` is
executed as ever: a worker that starts always runs the code that is on the disk.

``plugin.py`` says how this gets into supervisord.
"""

import ast
import atexit
import contextlib
import gc
import importlib
import io
import os
import runpy
import signal
import sys
import threading
import time
import traceback
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NoReturn

from supervisor import events

# There are many readers: what they need is loaded here, also what they load only when they run. Of the
# others there is one each.
READER = "workers.reader"
LOADED = (READER, "encodings.idna", "setproctitle")
MAIN_TEST = "__name__ == '__main__'"
# Of Python's allocator for small objects: what it has for one size comes in pools.
POOL_BYTES = 16 * 1024
SMALL_BYTES = 512
MOST_BLOCKS = 100_000


class Preloaded:
    """What is loaded, and how its files were then."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._path = _path_of_workers(root)
        self._kept: list[object] = []
        before, sys.path = sys.path, self._path
        # The collector would only look at all that stays.
        gc.disable()
        try:
            for name in LOADED:
                importlib.import_module(name)
            _rehearse()
        finally:
            gc.enable()
            sys.path = before
        if threading.active_count() > 1:
            raise RuntimeError("a module that was loaded has begun a thread, which forks would not have")
        self._main = _main_of(sys.modules[READER])
        titles = sys.modules["setproctitle"]
        self._set_title: Callable[[str], None] = titles.setproctitle
        self._set_name: Callable[[str], None] = titles.setthreadtitle
        self._title_length = sum(len(os.fsencode(word)) + 1 for word in sys.orig_argv)
        self._python = sys.orig_argv[0] if "python" in sys.orig_argv[0] else "python3"
        self._encoding: str = getattr(sys.__stderr__, "encoding", "utf-8")
        files = _files_of(list(sys.modules.values()))
        # Each in one piece: who touches hundreds of objects gets a copy of the page of each.
        self._files = "\0".join(files)
        self._signatures = array("q", _signatures(files))
        gc.collect()
        self._kept += _fill_gaps()
        gc.freeze()

    def is_current(self) -> bool:
        """Whether every file is still the one that was loaded."""
        return array("q", _signatures(self._files.split("\0"))) == self._signatures

    def arguments(self, argv: Sequence[str]) -> list[str] | None:
        """What the worker's Python is called with; None when this command starts no worker of ours."""
        start, *arguments = argv
        if start != f"{self._root}/supervisor/start-worker" or not arguments:
            return None
        is_module = arguments[0] == "-m" and len(arguments) > 1
        return arguments if is_module or arguments[0].endswith(".py") else None

    def prepare(self, arguments: Sequence[str], environment: Mapping[str, str], kept: object) -> None:
        """Make of this fork of supervisord what an exec of the worker's Python would have made.

        ``kept`` is what shall not be finalized here: supervisord's sockets, say, would close descriptors by
        their numbers, which are those of the worker's own by now.
        """
        self._kept += (kept, sys.stdin, sys.stdout, sys.stderr)
        self._kept += (sys.__stdin__, sys.__stdout__, sys.__stderr__)
        # Hides from the collector what it has not come to yet in supervisord: the same holds for that.
        gc.freeze()
        # Never in supervisord: the first call writes its command line anew, which `start-worker` reads. Not
        # shorter than the old one: then it is taken as one text, and people's tools split it at blanks.
        self._set_title(" ".join((self._python, *arguments)).ljust(self._title_length))
        self._set_name(self._python.rpartition("/")[2])
        _set_environment(environment)
        os.chdir(self._root)
        self._open_streams()

    def run(self, arguments: Sequence[str]) -> int:
        """Be the worker, until its end; the process's exit code."""
        try:
            try:
                self._run(arguments)
            finally:
                # What the interpreter does at its end, and forks of multiprocessing do.
                threading._shutdown()  # type: ignore[attr-defined]
                atexit._run_exitfuncs()
        except SystemExit as end:
            return _exit_code(end)
        except BaseException as error:  # noqa: BLE001 - the last words of a process
            sys.excepthook(type(error), error, error.__traceback__)
            return 1
        return 0

    def _run(self, arguments: Sequence[str]) -> None:
        sys.path[:] = self._path
        if arguments[0] != "-m":
            script = f"{self._root}/{arguments[0]}"
            sys.argv = [script, *arguments[1:]]
            sys.path.insert(0, script.rpartition("/")[0])
            runpy.run_path(script, run_name="__main__")
        elif arguments[1] != READER:
            sys.argv = list(arguments[1:])
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            module = sys.modules[READER]
            sys.modules["__main__"] = module
            module.__name__ = "__main__"
            sys.argv = [module.__file__ or READER, *arguments[2:]]
            exec(self._main, module.__dict__)

    def _open_streams(self) -> None:
        """Open new ones: those of supervisord may hold a text that it has not written yet.

        Without buffers, as ``start-worker`` has them.
        """
        sys.stdin = sys.__stdin__ = io.TextIOWrapper(  # type: ignore[misc]
            io.BufferedReader(io.FileIO(0, closefd=False)), self._encoding, "surrogateescape"
        )
        sys.stdout = sys.__stdout__ = self._output(1, "surrogateescape")  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self._output(2, "backslashreplace")  # type: ignore[misc]

    def _output(self, descriptor: int, errors: str) -> io.TextIOWrapper:
        raw: Any = io.FileIO(descriptor, "w", closefd=False)
        return io.TextIOWrapper(raw, self._encoding, errors, write_through=True)


class Starts:
    """Takes over how supervisord's ``options`` start a program."""

    def __init__(self, options: Any, preloaded: Preloaded, root: str) -> None:
        self._options = options
        self._preloaded = preloaded
        self._root = root
        self._supervisord = os.getpid()
        self._execve: Callable[[str, Sequence[str], Mapping[str, str]], NoReturn] = options.execve
        options.fork = self.fork
        options.execve = self.execve

    def fork(self) -> int:
        """Fork. A signal that reaches the child at its begin finds no handler of supervisord's."""
        # The child itself could not ask for it once supervisord has died.
        self._supervisord = os.getpid()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                _reset_signals()
                self._options.close_fd = self._close_all
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return pid

    def execve(self, filename: str, argv: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
        """Become that program, in the child: go on as a worker of ours, or execute another one."""
        arguments = self._preloaded.arguments(argv)
        if arguments is None or not self._preloaded.is_current():
            self._execve(filename, argv, environment)
        try:
            # As `start-worker` sets them. The worker compares who has started it with its parent.
            own = {
                "PYTHONPATH": self._root,
                "PYTHONUNBUFFERED": "1",
                "SUPERVISORD_PID": str(self._supervisord),
            }
            self._preloaded.prepare(arguments, {**environment, **own}, self._options)
        except Exception:  # noqa: BLE001 - nothing has been done yet that an exec does not undo
            self._execve(filename, argv, environment)
        code = 1
        try:
            code = self._preloaded.run(arguments)
        finally:
            # Never back into what supervisord does after a fork.
            os._exit(code)

    def _close_all(self, descriptor: int) -> None:
        """Close what supervisord's loop over thousands of numbers closes one by one."""
        os.closerange(descriptor, self._options.minfds)
        self._options.close_fd = lambda _descriptor: None


# For `supervisorctl reload`: what is loaded stays as it was.
_loaded: Preloaded | None = None


def install(supervisord: Any, root: str) -> None:
    """Have supervisord start workers like that; where it is not possible its log says why."""
    global _loaded
    events.subscribe(events.SupervisorRunningEvent, lambda _event: _start_at_once(supervisord))
    log = supervisord.options.logger
    if sys.platform != "linux":
        # Elsewhere libraries of the system may not work in a fork.
        log.info("preload: on Linux only, every worker loads its modules itself")
        return
    if _loaded is None:
        began = time.monotonic()
        try:
            _loaded = Preloaded(root)
        except BaseException as error:  # noqa: BLE001 - whatever a module does that is loaded
            reason = " ".join("".join(traceback.format_exception_only(error)).split())
            log.warn(f"preload: not possible, every worker loads its modules itself: {reason}")
            return
        log.info(f"preload: loaded what readers need in {time.monotonic() - began:.2f} s")
    Starts(supervisord.options, _loaded, root)


def _start_at_once(supervisord: Any) -> None:
    """supervisord itself sleeps a second before it looks for the first time what there is to start."""
    for group in sorted(supervisord.process_groups.values()):
        group.transition()


def _path_of_workers(root: str) -> list[str]:
    """Where ``start-worker``'s Python looks for modules: at first in ``root`` instead of at its script."""
    own = set(os.environ.get("PYTHONPATH", "").split(os.pathsep))
    own |= set() if sys.flags.safe_path else {sys.path[0]}
    return [root, *(place for place in sys.path if place not in own)]


def _rehearse() -> None:
    """Do once what every reader begins with: what Python keeps of it for the next time is then shared.

    The log stays open; where settings are looked for there are none.
    """
    log_setup, paths, settings = (
        importlib.import_module(f"shared.{name}") for name in ("log_setup", "paths", "settings")
    )
    log_setup.set_up("supervisord")
    with contextlib.redirect_stderr(io.StringIO()):
        importlib.import_module("loguru").logger.info("rehearsal")
    settings.load(paths.Paths(Path(os.devnull)), {})


def _fill_gaps() -> list[list[bytes]]:
    """Take the memory that is free between what was loaded; it is to be kept.

    A fork would put its objects there, one here and one there, and get a copy of the page of each.
    """
    kept = []
    for size in range(48, SMALL_BYTES + 1, 16):
        blocks = [b""]
        in_row = 0
        # Until they fill a pool that was empty.
        while in_row < (POOL_BYTES - 48) // size - 1:
            blocks.append(bytes(size - sys.getsizeof(b"")))
            in_row = in_row + 1 if id(blocks[-1]) - id(blocks[-2]) == size else 0
            if len(blocks) > MOST_BLOCKS:
                # This Python has another allocator.
                return []
        del blocks[-in_row - 1 :]
        kept.append(blocks)
    return kept


def _main_of(module: ModuleType) -> CodeType:
    """What a module does as a program besides what it did when it was loaded."""
    assert module.__file__ is not None
    with io.open_code(module.__file__) as file:
        tree = ast.parse(file.read())
    tree.body = [
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == MAIN_TEST
    ]
    if not tree.body:
        raise ImportError(f"{module.__name__} has no part that makes it a program")
    return compile(tree, module.__file__, "exec")


def _files_of(modules: Iterable[object]) -> list[str]:
    """What an upgrade may change: the interpreter, this file, and all modules that are not the library's."""
    library = f"{os.__file__.rpartition('/')[0]}/"
    found = [getattr(module, "__file__", None) for module in modules]
    files = {file for file in found if file and (not file.startswith(library) or "-packages/" in file)}
    return [os.path.realpath(sys.executable), __file__, *sorted(files)]


def _signatures(files: Iterable[str]) -> Iterator[int]:
    """What shows that a file is another one."""
    for file in files:
        try:
            found = os.stat(file)  # noqa: PTH116
        except OSError:
            yield from (0, 0, 0)
        else:
            yield from (found.st_mtime_ns, found.st_size, found.st_ino)


def _reset_signals() -> None:
    """As an exec does it, and Python at its begin."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _set_environment(wanted: Mapping[str, str]) -> None:
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _exit_code(end: SystemExit) -> int:
    """As the interpreter sees it."""
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    sys.stderr.write(f"{end.code}\n")
    return 1
