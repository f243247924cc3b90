"""The ``emotes`` tag of Twitch: ``id:start-end,start-end/id:start-end``. Pure.

Positions are zero-based, include their end and count code points of the text; those of a ``/me`` message
count from behind its wrapper.
"""

# Emotes do not overlap on Twitch, so they are never longer together than the text; a hostile line could have
# one record grow to megabytes.
MAX_EMOTE_CHARACTERS = 64 * 1024
# An event has each emote with its id and its places: for three bytes of a hostile line a long id once more.
MAX_WRITTEN_CHARACTERS = 64 * 1024
_WRITTEN_OVERHEAD = 50

Span = tuple[int, int, str]
"""First and last code point of an emote, and its id."""


def find_emotes(raw: str, text: str) -> tuple[list[Span], int]:
    """The emotes of a tag that is not empty, in order of appearance, and how many ranges do not fit the
    text."""
    found: list[Span] = []
    rejected = characters = 0
    length = len(text)
    for emote in raw.split("/"):
        emote_id, _, ranges = emote.partition(":")
        for one in ranges.split(","):
            start_text, _, end_text = one.partition("-")
            start, end = _position(start_text), _position(end_text)
            fits = emote_id and 0 <= start <= end < length
            if not fits or characters + end - start >= MAX_EMOTE_CHARACTERS:
                rejected += 1
            else:
                characters += end - start + 1
                found.append((start, end, emote_id))
    found.sort()
    return found, rejected


def fit_an_event(spans: list[Span]) -> bool:
    """Whether they are few and short enough to be written out one by one, with id, text and places."""
    written = sum(len(emote_id) + end - start + 1 for start, end, emote_id in spans)
    return written + _WRITTEN_OVERHEAD * len(spans) <= MAX_WRITTEN_CHARACTERS


def emotes_tag(spans: list[Span]) -> str:
    """The tag of these emotes: one group an id, in the order in which the ids first appear.

    Twitch writes its groups like that in most messages, and in no order that could be told in the rest.
    """
    groups: dict[str, str] = {}
    for start, end, emote_id in spans:
        before = groups.get(emote_id)
        groups[emote_id] = f"{before},{start}-{end}" if before else f"{emote_id}:{start}-{end}"
    return "/".join(groups.values())


def _position(text: str) -> int:
    # Longer than any text has characters: refused before int() has work with it.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
