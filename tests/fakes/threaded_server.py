"""The life of a fake server: an asyncio loop in a thread of the test."""

import abc
import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Self, TypeVar

START_SECONDS = 10.0
_Result = TypeVar("_Result")


class ThreadedServer(abc.ABC):
    """Use it as a context manager; ``name`` says which server it is, in messages."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    def start(self) -> Self:
        """Listen. OSError when the port is taken."""
        self._thread.start()
        self._started.result(START_SECONDS)
        return self

    def stop(self) -> None:
        """Close everything and end the thread; raises what went wrong in the server itself, if anything."""
        if self._thread.is_alive():
            self._started.result(START_SECONDS).call_soon_threadsafe(self._stopping.set)
            self._thread.join(START_SECONDS)
            assert not self._thread.is_alive(), f"{self._name} does not end"
        if self._failures:
            raise AssertionError(f"{self._name} itself failed") from self._failures.pop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abc.abstractmethod
    async def _open(self) -> None:
        """Listen."""

    @abc.abstractmethod
    async def _close(self) -> None:
        """Close everything."""

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except (OSError, OverflowError) as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _main(self) -> None:
        await self._open()
        self._started.set_result(asyncio.get_running_loop())
        await self._stopping.wait()
        await self._close()

    def _spawn(self, what: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self._failures.append(failure)

    def _submit(self, what: Coroutine[None, None, _Result]) -> concurrent.futures.Future[_Result]:
        if not self._thread.is_alive():
            what.close()
            raise AssertionError(f"{self._name} does not run")
        return asyncio.run_coroutine_threadsafe(what, self._started.result(START_SECONDS))
