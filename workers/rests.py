"""What readers leave in the spool when they have to stop without a producer."""

from loguru import logger

from shared.record import Record
from shared.seen_ids import SeenIds, key_of_record
from shared.spool import Spool
from workers.merge import Copies

ROWS = 20_000


def take_over_rests(spool: Spool, seen: SeenIds) -> list[Record]:
    """Put what is new of the rests behind the other messages in the spool, and remember it as seen.

    Gives what was left out as a duplicate. Raises SpoolError; what was taken over until then is.
    """
    duplicates: list[Record] = []
    while rests := spool.rests(ROWS):
        found: dict[str, Record] = {}
        # Readers of the same channel left theirs one after the other.
        left = Copies()
        for number, reader, record in rests:
            key = key_of_record(record) if record.id else f"\0rest {number}"
            if key in seen or key in found:
                duplicates.append(record)
            else:
                found[key] = record
            left.add(record.channel, reader, key)
        new = [found[key] for key in left.merged() if key in found]
        spool.take_over(rests[-1][0], new)
        # Only now: had it failed, they would count as seen and be nowhere.
        for record in new:
            if record.id:
                seen.add(key_of_record(record))
        logger.info("{} messages taken over that readers had left in the spool", len(new))
    return duplicates
