"""What ``make status`` shows: tables for the terminal. Pure."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from shared.channel_list import is_reader
from shared.overview import Channel, Overview, Worker

_BARS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 20
_GOOD, _WARN, _BAD, _DIM = "green", "yellow", "bold red", "dim"
_WELL_STATES = {"RUNNING": _GOOD, "STARTING": _WARN, "STOPPING": _WARN}
_CHANNEL_STATES = {"joined": _GOOD, "not joined": _BAD, "no reader": _BAD}
# Lines besides the rows of the two tables and those at the end.
_FURNITURE_LINES = 9
_GAPS_NAMED = 5


def show(overview: Overview, height: int | None = None) -> RenderableType:
    """Everything; ``height`` bounds it to so many lines, the channels in trouble first."""
    channels: Sequence[Channel] = overview.channels
    workers: Sequence[Worker] = [one for one in overview.workers if not is_reader(one.name)]
    readers = [one for one in overview.workers if is_reader(one.name)]
    workers = [*workers, *(one for one in readers if one.state != "RUNNING")]
    lines = list(_lines(overview))
    hidden = 0
    if height is not None:
        furniture = _FURNITURE_LINES + len(lines)
        room = max(3, height - furniture - len(workers) - 2 * len(overview.problems))
        ordered = sorted(channels, key=lambda one: (one.state == "joined", -(one.per_second or 0.0)))
        channels, hidden = ordered[:room], max(0, len(ordered) - room)
    parts: list[RenderableType] = [_sentence(overview), *_problems(overview), Text("")]
    if channels:
        parts.append(_channel_table(overview, channels))
    if hidden:
        parts.append(Text(f"  … and {hidden} more channels", style=_DIM))
    parts += [Text(""), _worker_table(workers)]
    if readers:
        parts.append(_readers_line(readers))
    parts += [Text(""), *lines]
    return Group(*parts)


def plain(text: str) -> str:
    """Foreign text without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _sentence(overview: Overview) -> Text:
    sign, style = ("✓", _GOOD) if overview.well else ("✗", _BAD)
    if not overview.well and overview.problems[0].severity == "warning":
        sign, style = "!", _WARN
    return Text(f"{sign} {plain(overview.sentence)}", style=style)


def _problems(overview: Overview) -> Iterable[Text]:
    for problem in overview.problems:
        style = _BAD if problem.severity == "bad" else _WARN
        text = Text("  ")
        text.append(plain(problem.text), style=style)
        if problem.advice:
            text.append(f": {plain(problem.advice)}")
        yield text


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        left = name in ("channel", "state", "10 minutes", "program")
        table.add_column(name, justify="left" if left else "right", no_wrap=True, overflow="ellipsis")
    return table


def _channel_table(overview: Overview, channels: Iterable[Channel]) -> Table:
    table = _table(
        "channel", "state", "msg/s", "10 minutes", "last", "received", "delivered", "waiting", "reconnects",
        "offline", "lost",
    )  # fmt: skip
    for one in channels:
        lost = sum(one.lost.values())
        age = (overview.time_ms - one.last_message_ms) / 1000 if one.last_message_ms else None
        table.add_row(
            plain(one.name),
            Text(one.state, style=_CHANNEL_STATES.get(one.state, _BAD)),
            "–" if one.per_second is None else f"{one.per_second:,.1f}",
            sparkline(one.history),
            "–" if age is None else span(age),
            f"{one.received:,}",
            f"{one.delivered:,}",
            f"{one.pending:,}",
            f"{one.reconnects:,}",
            span(one.offline_seconds) if one.offline_seconds else "–",
            Text(f"{lost:,}", style=_BAD if lost else ""),
        )
    return table


def _worker_table(workers: Iterable[Worker]) -> Table:
    table = _table("program", "state", "uptime", "restarts", "CPU", "memory")
    for one in workers:
        table.add_row(
            plain(one.name),
            Text(one.state, style=_WELL_STATES.get(one.state, _BAD)),
            "–" if one.uptime_seconds is None else span(one.uptime_seconds),
            f"{one.restarts:,}",
            "–" if one.cpu_percent is None else f"{one.cpu_percent:.1f} %",
            "–" if one.memory_bytes is None else size(one.memory_bytes),
        )
    return table


def _readers_line(readers: Sequence[Worker]) -> Text:
    running = sum(one.state == "RUNNING" for one in readers)
    memory = sum(one.memory_bytes or 0 for one in readers)
    restarts = sum(one.restarts for one in readers)
    return Text(
        f"{running} of {len(readers)} readers run, {restarts} restarts, {size(memory)} together", style=_DIM
    )


def _lines(overview: Overview) -> Iterable[Text]:
    totals, spool, token = overview.totals, overview.spool, overview.token
    rate = "" if totals.per_second is None else f"{totals.per_second:,.1f} a second, "
    yield Text(
        f"totals    {rate}{totals.received:,} received, {totals.delivered:,} delivered, {totals.duplicate:,} "
        f"duplicate, {totals.pending:,} waiting, {totals.lost:,} lost, {totals.rejected:,} lines rejected"
    )
    if totals.gap_seconds or totals.backfilled:
        yield Text(f"missing   {_missing(overview)}")
    delivery = overview.delivery
    if delivery.p50_seconds is None or delivery.p99_seconds is None:
        yield Text("delivery  no message in the last ten minutes")
    else:
        p50, p99 = _milliseconds(delivery.p50_seconds), _milliseconds(delivery.p99_seconds)
        yield Text(f"delivery  half in {p50}, 99 % in {p99}, of the last ten minutes")
    kafka = "takes messages" if overview.kafka.accepts else "TAKES NO MESSAGES"
    kind = "embedded, " if overview.kafka.embedded else ""
    addresses = ", ".join(overview.kafka.addresses)
    yield Text(f"Kafka     {kafka}, {kind}{addresses}, topic {overview.kafka.topic}")
    if totals.events is not None:
        events = totals.events
        yield Text(
            f"events    {events.received:,} received, {events.delivered:,} delivered, {events.duplicate:,} "
            f"duplicate, topic {overview.kafka.events_topic}"
        )
    yield Text(f"spool     {_spool(spool.messages, spool.bytes, spool.max_bytes)}")
    yield Text(f"token     {_token(token.state, plain(token.login), token.remaining_seconds)}")


def _missing(overview: Overview) -> str:
    """What no reader heard, and what of that was fetched afterwards."""
    found = sorted(overview.channels, key=lambda one: one.gap_seconds, reverse=True)
    gaps = [f"{_gap(one.gap_seconds)} of {plain(one.name)}" for one in found if one.gap_seconds]
    more = f" and {len(gaps) - _GAPS_NAMED} more channels" if len(gaps) > _GAPS_NAMED else ""
    words = f"{', '.join(gaps[:_GAPS_NAMED]) or 'nothing'}{more} for good"
    count = overview.totals.backfilled
    return f"{words}; {count:,} line{'s' * (count != 1)} fetched later" if count else words


def _gap(seconds: float) -> str:
    return span(seconds) if seconds >= 1 else "<1 s"


def _spool(messages: int, used: int, bound: int) -> str:
    if not messages:
        return "empty: nothing waits on disk"
    return (
        f"{messages:,} messages wait on disk and follow in order when Kafka takes them; "
        f"{used / bound:.1%} of its bound"
    )


def _token(state: str, login: str, remaining_seconds: float | None) -> str:
    if state == "anonymous":
        return "none: chat is read anonymously"
    life = f", {span(max(0.0, remaining_seconds))} left" if remaining_seconds is not None else ""
    return f"{state}{f', {login}' if login else ''}{life}"


def sparkline(history: Sequence[int | None]) -> str:
    """Ten minutes as bars of 30 s each; a blank where nobody looked."""
    step = -(-len(history) // _SPARK_WIDTH)
    parts = [history[at : at + step] for at in range(0, len(history), step)]
    sums = [sum(one or 0 for one in part) if any(one is not None for one in part) else None for part in parts]
    most = max((one for one in sums if one is not None), default=0)
    return "".join(" " if one is None else _bar(one, most) for one in sums)


def _bar(count: int, most: int) -> str:
    return _BARS[0] if not most else _BARS[round(count / most * (len(_BARS) - 1))]


def span(seconds: float) -> str:
    """A time for people, in its two largest units."""
    whole = int(seconds)
    for unit, length, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // part} {smaller}"
    return f"{whole} s"


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1024**3:,.1f} GiB" if count >= 10 * 1024**3 else f"{count / 1024**2:,.0f} MiB"


def _milliseconds(seconds: float) -> str:
    return (
        f"{seconds * 1000:.0f} ms" if seconds < 1 else span(seconds) if seconds >= 60 else f"{seconds:.1f} s"
    )
