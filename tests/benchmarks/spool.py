"""How fast messages go into the spool and out of it, and what one takes there.

``python -m tests.benchmarks.spool``
"""

import tempfile
import time
from pathlib import Path

from shared.spool import Spool
from tests.shared.handoff_loop import record

MESSAGES = 200_000
VALUE_BYTES = 218


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "spool.sqlite3"
        spool = Spool(path, 10 * 1024**3)
        records = [record(number, size=VALUE_BYTES) for number in range(2_000)]
        began = time.perf_counter()
        for _ in range(MESSAGES // len(records)):
            left = records
            while left:
                left = left[len(spool.append(left)) :]
        stored = time.perf_counter()
        size = sum(one.stat().st_size for one in path.parent.glob("spool.sqlite3*") if "-shm" not in one.name)
        while rows := spool.read_on(2_000):
            spool.remove([(number, one.channel) for number, one in rows])
        drained = time.perf_counter()
        spool.close()
    print(f"in:  {MESSAGES / (stored - began):,.0f} messages/s")
    print(f"out: {MESSAGES / (drained - stored):,.0f} messages/s")
    print(f"on disk: {size / MESSAGES:.0f} bytes a message with a value of {VALUE_BYTES}")


if __name__ == "__main__":
    main()
