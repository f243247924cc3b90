"""The supervised program ``monitor``: shows how the service is, on loopback.

It reads what the workers tell in their status files and asks supervisord; it keeps nothing but the last ten
minutes. Nobody depends on it.
"""

import asyncio
import contextlib
import logging
import socket
import time

import uvicorn
from loguru import logger

from shared import event_loop
from shared.errors import MonitorPortTaken
from shared.paths import Paths
from shared.reports import MonitorReport
from shared.settings import Settings
from shared.status_file import StatusFile
from shared.stopping import Stop
from shared.worker import run_worker
from workers.monitor_app import make_app
from workers.monitor_history import History
from workers.monitor_metric_table import Moment
from workers.monitor_overview import losses_of, overview_of, sample_of
from workers.monitor_sources import ProcessTable, Sources

PROGRAM = "monitor"
HOST = "127.0.0.1"
TICK_SECONDS = 5.0
# Who looks at the page asks every second; two who look get the same answer.
SAME_SECONDS = 0.4
# supervisord, which does everything one after the other, is asked seldom while nobody looks.
ASK_SECONDS = 10.0
ASK_WATCHED_SECONDS = 2.0
# Then the answer is what was known before.
ANSWER_SECONDS = 1.0
STOP_SECONDS = 1


class Monitor:
    """Knows how the service is, at any moment."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self._settings = settings
        self._processes = ProcessTable(paths.supervisor_socket)
        self._sources = Sources(settings, paths, self._processes)
        self._history = History()
        self._status = StatusFile(paths.status, PROGRAM)
        self._requests = 0
        self._moment: Moment | None = None
        self._moment_at = float("-inf")
        self._asked_at = float("-inf")
        self._wanted = asyncio.Event()
        self._asked = asyncio.Event()

    async def run(self, stop: Stop) -> None:
        """Serve until ``stop`` is requested. Raises MonitorPortTaken."""
        listener = _listen(self._settings.monitor_port)
        server = uvicorn.Server(_configuration(self))
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        # Not server.serve(): it takes the signals for itself and wakes up ten times a second.
        await server.startup(sockets=[listener])
        logger.info("the page is at http://{}:{}/", HOST, self._settings.monitor_port)
        tasks = {asyncio.create_task(one) for one in (_requested(stop), self._tick(), self._ask())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await server.shutdown()
        self._status.finish(self._report())
        logger.info("stopped")

    async def moment(self) -> Moment:
        """What there is to know now."""
        self._requests += 1
        if time.monotonic() - self._asked_at > ASK_WATCHED_SECONDS:
            self._wanted.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._asked.wait()
        if self._moment is None or time.monotonic() - self._moment_at >= SAME_SECONDS:
            self._look()
        assert self._moment is not None
        return self._moment

    def _look(self) -> None:
        facts = self._sources.read()
        self._history.add(sample_of(facts))
        overview = overview_of(facts, self._history, self._settings)
        self._moment = Moment(overview, facts.producer, losses_of(facts))
        self._moment_at = time.monotonic()

    async def _tick(self) -> None:
        """Take samples while nobody looks."""
        while True:
            self._history.add(sample_of(self._sources.read()))
            self._status.update(self._report)
            await asyncio.sleep(TICK_SECONDS)

    async def _ask(self) -> None:
        """Ask supervisord, beside the loop: it may be busy, or hang."""
        while True:
            await asyncio.to_thread(self._processes.look)
            self._asked_at = time.monotonic()
            self._asked.set()
            await asyncio.sleep(ASK_WATCHED_SECONDS)
            self._asked.clear()
            self._wanted.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_SECONDS - ASK_WATCHED_SECONDS):
                    await self._wanted.wait()

    def _report(self) -> MonitorReport:
        return MonitorReport(self._requests)


async def _requested(stop: Stop) -> None:
    requested = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_stop() -> None:
        # It stays readable.
        loop.remove_reader(stop.fileno())
        requested.set()

    loop.add_reader(stop.fileno(), on_stop)
    await requested.wait()


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise MonitorPortTaken(
            f"port {port} cannot be used ({error.strerror}): set MONITOR_PORT to a free one"
        ) from None
    return listener


def _configuration(monitor: Monitor) -> uvicorn.Config:
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    return uvicorn.Config(
        make_app(monitor.moment),
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


def main(settings: Settings, paths: Paths, stop: Stop) -> None:
    """Run the monitor until ``stop`` is requested."""
    event_loop.run(Monitor(settings, paths).run(stop))


if __name__ == "__main__":
    run_worker(PROGRAM, main)
