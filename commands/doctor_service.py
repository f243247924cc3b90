"""Points of `make doctor` about the running service."""

from collections.abc import Iterable

from commands.doctor_point import Point, bad, good
from shared import supervisord
from shared.channel_list import group_name, names_of_copies, reader_name
from shared.errors import SupervisordUnavailable
from shared.paths import Paths
from shared.reader_groups import numbers_by_login, read_groups
from shared.settings import Settings
from shared.supervisord import Program

DAEMON = "as a daemon: supervisord -c supervisord.conf; its log is logs/supervisord.log"
# So many are named, the others counted.
NAMED = 5


class Service:
    """What supervisord tells, asked once. Blocks for some seconds where it hangs."""

    def __init__(self, paths: Paths) -> None:
        self.trouble = ""
        """Why it tells nothing."""
        self.programs: dict[str, Program] = {}
        self._group_numbers = numbers_by_login(read_groups(paths.groups))
        try:
            self.programs = {one.name: one for one in supervisord.programs(paths.supervisor_socket)}
        except SupervisordUnavailable as error:
            self.trouble = str(error)

    def runs(self, program: str) -> bool:
        """Whether the program is RUNNING."""
        found = self.programs.get(program)
        return found is not None and found.state == "RUNNING"

    def workers(self, settings: Settings | None, channels: Iterable[str]) -> Point:
        """Whether supervisord runs, and all of its programs do; None for bad settings."""
        if self.trouble:
            return bad("workers", self.trouble, DAEMON)
        idle = [one for one in self.programs.values() if one.state != "RUNNING"]
        missing = self._missing(settings, channels)
        if not idle and not missing:
            return good("workers", f"all {len(self.programs)} programs of supervisord are RUNNING")
        notes = [f"{one.name} is {_state(one)}: {_remedy(one)}" for one in idle]
        notes += [f"{name} is missing: see logs/channel-sync.log" for name in missing]
        more = [f"and {len(notes) - NAMED} more"] if len(notes) > NAMED else []
        text = f"{len(notes)} of {len(self.programs) + len(missing)} programs do not run"
        return bad("workers", text, "", *notes[:NAMED], *more)

    def _missing(self, settings: Settings | None, channels: Iterable[str]) -> list[str]:
        """Programs that channel-sync should have added by now."""
        if settings is None:
            return []
        copies = settings.readers_per_channel
        numbers = self._group_numbers if settings.channels_per_reader > 1 else {}
        readers = [
            group_name(numbers[channel]) if channel in numbers else reader_name(channel)
            for channel in channels
        ]
        wanted = [name for one in dict.fromkeys(readers) for name in names_of_copies(one, copies)]
        wanted += ["kafka"] if settings.kafka_is_embedded else []
        return [name for name in wanted if name not in self.programs]


def _state(program: Program) -> str:
    return f"{program.state} ({program.description})" if program.description else program.state


def _remedy(program: Program) -> str:
    if program.state == "STOPPED":
        return f"supervisorctl start {program.name}"
    if program.state in ("STARTING", "STOPPING"):
        return "wait some seconds, and look again"
    return f"see logs/{program.name}.log"
