"""What scenarios, contenders and figures are called, in the results and in all that is made of them."""

OURS = "this service"
SHARED_CHANNELS = 20
SHARED = f"this service, {SHARED_CHANNELS} channels a reader"
NODE_BATCHED = "Node, batched"
NAIVE_PYTHON = "naive Python"
NODE_REPLACED = "Node, one process a channel"

STEADY = "20 channels × 50/s"
SINGLE = "1 channel × 100/s"
BURST = "burst, 4 channels × 25,000"
QUICK_BURST = "burst, 4 channels × 5,000"
IDLE = "50 channels × 1/s"
LONG = "half an hour, 50 channels × 2/s"
TWO = "20 channels × 50/s, two readers each"
GROWTH = "growth, a message a second and channel"
GROWTH_SIZES = (20, 50, 100, 200)


def at_size(name: str, channels: int) -> str:
    """A scenario that is measured with several numbers of channels, at one of them."""
    return f"{name}: {channels} channels"


CPU = "CPU, µs a message"
RATE = "messages a second"
P50 = "p50, ms"
P99 = "p99, ms"
CORE = "% of a core"
CORE_EACH = "% of a core a channel"
MEMORY = "memory, MB"
MEMORY_EACH = "memory, MB a channel"
MEMORY_AT_FIRST = "memory after a third of the time, MB"
MEMORY_AT_LAST = "memory at the end, MB"
ROOT_CORE = "supervisord's % of a core"
ROOT_MEMORY = "supervisord's memory, MB"
PROCESSES = "processes"
START = "start, s"
LOST = "lost"
DOUBLED = "doubled"

DIGITS = {
    CPU: 1,
    RATE: 0,
    P50: 1,
    P99: 1,
    CORE: 1,
    CORE_EACH: 3,
    MEMORY: 1,
    MEMORY_EACH: 2,
    MEMORY_AT_FIRST: 1,
    MEMORY_AT_LAST: 1,
    ROOT_CORE: 2,
    ROOT_MEMORY: 1,
    PROCESSES: 0,
    START: 1,
    LOST: 0,
    DOUBLED: 0,
}
"""How many decimals are worth telling."""

COMPARED = (CPU, RATE, P50, P99, CORE, CORE_EACH, MEMORY, MEMORY_EACH, START)
"""Of which a ratio tells something."""
