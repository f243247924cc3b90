"""Makes the page and the schema of the events: ``python -m commands.event_docs``.

``--check`` writes nothing, and exits with 1 and a line for every file that is not what would be made.
"""

import argparse
from pathlib import Path

from commands.event_page import page_text, read_examples
from commands.event_schema import schema_text

ROOT = Path(__file__).parents[1]


def made_files(root: Path = ROOT) -> dict[Path, str]:
    """The files and what belongs into them.

    Raises LookupError for a field without a docstring or a type without an example.
    """
    template = (root / "commands" / "event_page.md").read_text("utf-8")
    examples = read_examples(root / "docs" / "event-examples.txt")
    return {
        root / "docs" / "events.md": page_text(template, examples),
        root / "schema" / "chat-event.schema.json": schema_text(),
    }


def outdated(files: dict[Path, str]) -> list[Path]:
    """Those that are not there or have another content."""
    return [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write the files, or look whether they are as they should be; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m commands.event_docs")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a file is not current"
    )
    is_check = parser.parse_args(arguments).check
    files = made_files(root)
    found = outdated(files)
    for path in found:
        if is_check:
            print(f"{path.relative_to(root)} is not current: run python -m commands.event_docs")
        else:
            path.write_text(files[path], "utf-8")
            print(f"{path.relative_to(root)} is made")
    return 1 if is_check and found else 0


if __name__ == "__main__":
    raise SystemExit(main())
