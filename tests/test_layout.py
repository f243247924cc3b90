"""The table of who may import what, of ARCHITECTURE.md, checked from the import statements."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in ("shared", "workers", "supervisor", "commands")
    for path in (ROOT / folder).glob("*.py")
)
PURE = {"irc_line", "chat_message", "timing", "errors", "channel_list", "handoff", "emotes"}
PURE |= {"event_tags", "event_base", "usernotices", "sub_notices", "twitch_events", "event_fields"}
PURE |= {"event_ids", "event_shapes", "event_parser", "event_line"}
KAFKA_EDGE = {
    "kafka_client",
    "kafka_connection",
    "kafka_sink",
    "kafka_tail",
    "kafka_follow",
    "kafka_trial",
    "kafka_wakeups",
}
KAFKA_EDGE |= {"kafka_presence"}
IMPURE_MODULES = {"socket", "os", "loguru", "irc", "kafka", "selectors", "subprocess", "dotenv"}


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def imported_at_once(path: Path) -> set[str]:
    """What a module imports when it is imported, without what only functions and type checkers need."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def tops_of(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(path)}


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 20


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    room, name = path.parent.name, path.stem
    tops = tops_of(path)
    assert "tests" not in tops
    assert "irc" not in tops or name == "twitch_connection"
    assert "kafka" not in tops or name in KAFKA_EDGE
    assert "dotenv" not in tops or name == "settings"
    assert "httpx" not in tops or name in ("twitch_id", "monitor_client")
    assert not tops & {"starlette", "uvicorn"} or room == "commands" or name in ("monitor", "monitor_app")
    assert "prometheus_client" not in tops or name == "monitor_metrics"
    assert "psutil" not in tops or name == "monitor_sources"
    assert not tops & {"rich", "jsonschema"} or room == "commands"
    assert "supervisor" not in tops or room == "supervisor" or name == "supervisord"
    assert "pickle" not in tops
    if room == "shared":
        assert not tops & {"workers", "commands"}
        if name in PURE:
            assert not tops & IMPURE_MODULES
    if room == "supervisor":
        assert "workers" not in tops
    if name == "twitch_connection":
        assert not imports_of(path) & {"shared.handoff", "shared.handoff_client"}
    if name in KAFKA_EDGE:
        assert not any(imported.startswith("shared.handoff") for imported in imports_of(path))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_environment_is_read_in_one_place(path: Path) -> None:
    # The broker's environment is made of a short list of names; who started a worker is no setting; a fork of
    # supervisord gets the environment that an exec would have given it.
    if path.stem not in ("settings", "embedded_kafka", "stopping", "preload"):
        text = path.read_text()
        assert "os.environ" not in text
        assert "getenv" not in text


def test_no_reader_and_no_idle_refresher_pays_for_what_most_do_not_need() -> None:
    known = {f"{path.parent.name}.{path.stem}": path for path in SOURCES}
    for program in ("workers.reader", "workers.token_refresher"):
        todo, seen = [program], set()
        while todo:
            module = todo.pop()
            if module in known and module not in seen:
                seen.add(module)
                todo += imported_at_once(known[module])
        assert len(seen) > 10
        assert not seen & {"shared.twitch_id", "workers.recent_messages", "workers.backfill"}
        assert "shared.event_parser" not in seen


def test_the_folder_supervisor_is_no_package() -> None:
    assert not (ROOT / "supervisor" / "__init__.py").exists()
