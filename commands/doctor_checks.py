"""All points of `make doctor` that need the packages, in their order."""

from collections.abc import Callable, Iterable, Iterator

from loguru import logger

from commands import (
    doctor_backfill,
    doctor_kafka,
    doctor_machine,
    doctor_service,
    doctor_settings,
    doctor_token,
    doctor_twitch,
)
from commands.doctor_display import Display
from commands.doctor_point import BAD, UNTRIED, Point, bad, untried
from shared import log_setup
from shared.errors import EXIT_BAD_SETTING, EXIT_FAILED
from shared.paths import Paths
from shared.settings import Settings, secrets_of


class Checks:
    """Looks at everything and shows it; ``wait_seconds`` is how long to wait for a chat message."""

    def __init__(self, paths: Paths, wait_seconds: float) -> None:
        self._paths = paths
        self._wait_seconds = wait_seconds
        self._display = Display()
        self._settings: Settings | None = None
        self._channels: tuple[str, ...] = ()

    def run(self, first: Iterable[Point]) -> int:
        """Show the ``first`` points and then all others; the exit code of the command."""
        log_setup.set_up("doctor", "warning")
        # What these two would say is said by the points.
        logger.disable("workers.login_token")
        logger.disable("workers.join_schedule")
        signs = []
        for points in (first, self._of_settings(), self._of_the_outside(), self._of_the_service()):
            for point in points:
                self._display.show(point)
                signs.append(point.sign)
        self._display.print(_sum(signs.count(BAD), signs.count(UNTRIED)))
        if self._settings is None:
            return EXIT_BAD_SETTING
        return EXIT_FAILED if BAD in signs else 0

    def _of_settings(self) -> Iterator[Point]:
        point, self._settings = doctor_settings.load(self._paths)
        if self._settings is None:
            yield point
            yield _without_settings("channels")
            return
        secrets = secrets_of(self._settings)
        log_setup.set_up("doctor", "warning", self._settings.log_format, secrets)
        self._display.hide([*secrets, *doctor_token.secrets_of(self._settings)])
        yield point
        point, self._channels = doctor_settings.channels(self._settings, self._paths)
        yield point

    def _of_the_outside(self) -> Iterator[Point]:
        """Kafka, the token, Twitch's chat, and who is asked for what was missed."""
        settings, waiting = self._settings, self._display.waiting
        if settings is None:
            twitch = (*doctor_token.POINTS, *doctor_twitch.POINTS)
            for name in (*doctor_kafka.POINTS, *twitch, doctor_backfill.POINT):
                yield _without_settings(name)
            return
        with waiting("asking supervisord"):
            service = doctor_service.Service(self._paths)
        yield from doctor_kafka.look(settings, service, waiting)
        yield from doctor_token.look(settings, waiting)
        look = doctor_twitch.Look(settings, self._paths, self._channels, self._wait_seconds, waiting)
        yield from look.points()
        yield doctor_backfill.look(settings, self._channels, waiting)

    def _of_the_service(self) -> Iterator[Point]:
        # Asked anew: what came before may have taken a minute.
        with self._display.waiting("asking supervisord"):
            service = doctor_service.Service(self._paths)
        yield service.workers(self._settings, self._channels)
        yield _guarded("file modes", lambda: doctor_machine.file_modes(self._paths, self._settings))
        yield _guarded("disk space", lambda: doctor_machine.disk_space(self._paths, self._settings))


def _without_settings(name: str) -> Point:
    return untried(name, "needs settings that are usable")


def _guarded(name: str, look: Callable[[], Point]) -> Point:
    try:
        return look()
    except OSError as error:
        remedy = "run this as the user that the service runs as"
        return bad(name, f"cannot be looked at: {error}", remedy)


def _sum(failed: int, untried_points: int) -> str:
    tried = f", {untried_points} could not be tried" if untried_points else ""
    if not failed:
        return f"all is well{tried}"
    return f"{failed} point{'' if failed == 1 else 's'} failed{tried}"
