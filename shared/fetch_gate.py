"""The gate that all readers pass before they ask the recent-messages service: one at a time, with pauses.

The service may be run by one person for everybody, and an installation may have hundreds of readers that come
back at the same moment.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from loguru import logger

from shared.timing import Deadline, Reminder

AFTER_ANSWER_SECONDS = 0.1
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
# For what the service asks for itself; also the bound of what is believed of the file.
LONGEST_ASKED_PAUSE_SECONDS = 600.0
TRY_EVERY_SECONDS = 0.05
LATER_FOR_EACH_SECOND_LEFT = 0.01
COMPLAIN_EVERY_SECONDS = 600.0


class Turn:
    """The leave to make one request, or the reason why there is none.

    Whoever has it says how the request went; without a word it counts as failed.
    """

    def __init__(self, refusal: str = "", guarded: bool = True) -> None:
        self.refusal = refusal
        """For people, one line; empty when the request may be made."""
        self.guarded = guarded
        """False where the gate cannot be used: nothing keeps a second try from following at once."""
        self.failed: bool | None = True
        """None when the request tells nothing of the service."""
        self.asked_pause_seconds: float | None = None

    def answered(self) -> None:
        """The service is well: the next one need not wait."""
        self.failed = False

    def cut_short(self) -> None:
        """There was no time for an answer: the service is not to blame, and may be well or not."""
        self.failed = None

    def asked_to_wait(self, seconds: float | None) -> None:
        """The service is in trouble or wants a pause of so many seconds; None: it does not say how long."""
        self.failed = True
        self.asked_pause_seconds = seconds


class _State(msgspec.Struct):
    next_at: float = 0.0
    """By the clock: before that nobody may ask."""
    failures: int = 0
    """In a row."""


class FetchGate:
    """Lets one request at a time pass, over all processes of this folder.

    The file ``path`` is locked during the request and holds the time of the next one. ``clock`` gives seconds
    that all processes of the machine share.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._clock = clock
        self._sleep = sleep
        self._complaint = Reminder(COMPLAIN_EVERY_SECONDS, clock)

    @contextlib.contextmanager
    def turn(self, deadline: Deadline) -> Iterator[Turn]:
        """Wait for a turn, until the deadline at most, and hold it for the time of the context.

        A pause that lasts longer than the deadline is not waited for. A process that is killed in its turn
        leaves the gate open. Where the file cannot be written or locked the request is made all the same.
        """
        with contextlib.ExitStack() as stack:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                stack.callback(os.close, descriptor)
                turn = Turn(self._wait(descriptor, deadline))
            except OSError as error:
                # On a full disk chat must go on, and what was missed with it.
                self._complain(error)
                turn = Turn(guarded=False)
            try:
                yield turn
            finally:
                if turn.guarded and not turn.refusal:
                    self._leave(descriptor, turn)

    def _complain(self, error: OSError) -> None:
        if self._complaint.is_due():
            logger.warning(
                "the fetch gate cannot be used: {}; is the disk full, or can files in run/ not be locked?",
                error.strerror,
            )

    def _wait(self, descriptor: int, deadline: Deadline) -> str:
        """Lock the file when nobody has to pause; give the reason when that is not to be had in time.

        Raises OSError where files cannot be locked.
        """
        while True:
            pause = 0.0
            if _lock(descriptor):
                pause = self._read(descriptor).next_at - self._clock()
                if pause <= 0.0:
                    return ""
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                if pause > max(deadline.left_seconds(), AFTER_ANSWER_SECONDS):
                    return f"the service is to be left alone for {pause:.1f} s more"
            if deadline.passed():
                return "too many readers ask at the same time"
            left = deadline.left_seconds()
            if 0.0 < pause < 2 * AFTER_ANSWER_SECONDS:
                # All who wait know when the next turn is: whoever has the least time left comes first.
                pause += min(left * LATER_FOR_EACH_SECOND_LEFT, AFTER_ANSWER_SECONDS)
            self._sleep(min(max(pause, TRY_EVERY_SECONDS), left))

    def _leave(self, descriptor: int, turn: Turn) -> None:
        state = self._read(descriptor)
        if turn.failed is not None:
            state.failures = state.failures + 1 if turn.failed else 0
        state.next_at = self._clock() + _pause_seconds(turn, state.failures)
        with contextlib.suppress(OSError):
            content = msgspec.json.encode(state)
            os.pwrite(descriptor, content, 0)
            os.truncate(descriptor, len(content))

    def _read(self, descriptor: int) -> _State:
        try:
            state = msgspec.json.decode(os.pread(descriptor, 4096, 0), type=_State)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            # Empty at first, or cut off by a full disk.
            return _State()
        # Far ahead is of another boot of the machine, whose clock was another; far back is another story.
        return state if abs(state.next_at - self._clock()) <= LONGEST_ASKED_PAUSE_SECONDS else _State()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pause_seconds(turn: Turn, failures: int) -> float:
    if not turn.failed:
        return AFTER_ANSWER_SECONDS
    # 2**10 first pauses are beyond the longest; the bound keeps the number small.
    growing = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * float(1 << min(failures - 1, 10)))
    asked = turn.asked_pause_seconds
    if asked is None:
        return growing
    return min(max(asked, FIRST_PAUSE_SECONDS), LONGEST_ASKED_PAUSE_SECONDS)
