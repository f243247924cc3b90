"""``asyncio.run`` for programs that have to end in time."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def run(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """As ``asyncio.run``, but its end does not wait for a name look-up that hangs."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(coroutine)


class _Loop(asyncio.SelectorEventLoop):
    """Looks names up in threads that the end of the process does not wait for, unlike those of a pool."""

    async def getaddrinfo(  # type: ignore[override]
        self,
        host: str | bytes | None,
        port: str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """As in the base class."""
        answer: asyncio.Future[list[Any]] = self.create_future()

        def look_up() -> None:
            try:
                found = socket.getaddrinfo(host, port, family, type, proto, flags)
            except (OSError, UnicodeError) as error:
                self._tell(answer, answer.set_exception, error)
            else:
                self._tell(answer, answer.set_result, found)

        threading.Thread(target=look_up, name="name look-up", daemon=True).start()
        return await answer

    def _tell(self, answer: "asyncio.Future[list[Any]]", tell: Callable[[Any], None], what: Any) -> None:
        # The loop may be closed by now.
        with contextlib.suppress(RuntimeError):
            self.call_soon_threadsafe(lambda: None if answer.done() else tell(what))
