"""Programs whose end does not wait for what hangs."""

import subprocess
import sys
import time
from pathlib import Path

from shared import event_loop

ROOT = Path(__file__).parent.parent.parent
HANGING = """
import asyncio, socket, time
from shared import event_loop

socket.getaddrinfo = lambda *arguments: time.sleep(600)

async def main():
    try:
        await asyncio.wait_for(asyncio.open_connection("nowhere.invalid", 80), 0.2)
    except TimeoutError:
        print("given up")

event_loop.run(main())
"""


def test_the_end_does_not_wait_for_a_name_look_up_that_hangs() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANGING], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "given up\n"
    assert time.monotonic() - began < 30


def test_names_are_looked_up_and_failures_told() -> None:
    async def main() -> list[object]:
        import asyncio

        loop = asyncio.get_running_loop()
        found: list[object] = list(await loop.getaddrinfo("127.0.0.1", 80))
        for odd in ("nowhere.invalid", "a" * 70 + ".invalid"):
            try:
                await loop.getaddrinfo(odd, 80)
            except (OSError, UnicodeError) as error:
                found.append(error)
        return found

    *addresses, first, second = event_loop.run(main())
    assert addresses
    assert isinstance(first, OSError)
    assert isinstance(second, OSError | UnicodeError)
