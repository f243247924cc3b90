"""The protocol of the hand-off queue between readers and the producer. Pure.

::

    producer → reader   Challenge   a nonce
    reader → producer   Hello       proof that it has the key, its name, its session
    producer → reader   Welcome     number of the session's newest batch that was already taken in, and
                                    whether it tells events from chat messages
    reader → producer   Batch       records, numbered from 1 within the session; several may be on their way
    producer → reader   Ack         every batch up to this number is durable: the reader may forget it

A session is one life of one reader. Messages are MessagePack arrays that begin with their type; nothing is
ever unpickled. A reader that is connected anew sends every batch again that was not acknowledged and that
Welcome does not name.
"""

import hashlib
import hmac
import secrets
from pathlib import Path

import msgspec

from shared.errors import HandoffError
from shared.record import Record


class Challenge(msgspec.Struct, tag="challenge", array_like=True):
    """Asks the reader to prove that it has the key."""

    nonce: bytes


class Hello(msgspec.Struct, tag="hello", array_like=True):
    """A reader's first message."""

    proof: bytes
    program: str
    session: str


class Welcome(msgspec.Struct, tag="welcome", array_like=True):
    """``taken`` is the newest batch of this session that the producer has; 0 for none.

    ``types`` says that it goes by ``Record.type``: an older producer, which does not say so, would take
    events for chat messages.
    """

    taken: int
    types: bool = False


class Batch(msgspec.Struct, tag="batch", array_like=True):
    """Records in the order in which they were read."""

    number: int
    records: list[Record]


class Ack(msgspec.Struct, tag="ack", array_like=True):
    """Every batch up to ``number`` is durable."""

    number: int


# The last one is of a message nested too deep.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

encode = msgspec.msgpack.Encoder().encode
_from_reader: msgspec.msgpack.Decoder[Hello | Batch] = msgspec.msgpack.Decoder(Hello | Batch)
_from_producer: msgspec.msgpack.Decoder[Challenge | Welcome | Ack] = msgspec.msgpack.Decoder(
    Challenge | Welcome | Ack
)


def decode_from_reader(frame: bytes) -> Hello | Batch:
    """Read a frame of a reader. Raises HandoffError for anything else."""
    try:
        return _from_reader.decode(frame)
    except _UNREADABLE as error:
        raise HandoffError(f"not a message of a reader: {error}") from None


def decode_from_producer(frame: bytes) -> Challenge | Welcome | Ack:
    """Read a frame of the producer. Raises HandoffError for anything else."""
    try:
        return _from_producer.decode(frame)
    except _UNREADABLE as error:
        raise HandoffError(f"not a message of the producer: {error}") from None


def new_nonce() -> bytes:
    """A nonce for a Challenge."""
    return secrets.token_bytes(32)


def prove(key: bytes, nonce: bytes) -> bytes:
    """What a Hello answers to a Challenge: only who has the key can know it."""
    return hmac.digest(key, b"hand-off" + nonce, hashlib.sha256)


def proof_is_right(key: bytes, nonce: bytes, proof: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(prove(key, nonce), proof)


def read_key(path: Path) -> bytes:
    """The key of this folder's hand-off. Raises HandoffError while the producer has not made one."""
    try:
        key = path.read_bytes()
    except OSError as error:
        raise HandoffError(f"{path.name} cannot be read: {error.strerror}") from None
    if not key:
        raise HandoffError(f"{path.name} is empty")
    return key
