"""Frames over a non-blocking socket: length, then bytes, as ``multiprocessing.connection`` writes them.

The standard library's own Connection blocks in the middle of a frame when its peer hangs; here neither side
ever waits for the other.
"""

import socket
import struct

from shared.errors import HandoffError

MAX_FRAME_BYTES = 4 * 1024 * 1024
_LENGTH = struct.Struct("!i")
_READ_BYTES = 256 * 1024


class FrameSocket:
    """Sends and receives frames over a connected stream socket, which it owns and makes non-blocking."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._received = bytearray()
        self._to_send = bytearray()

    def fileno(self) -> int:
        """The socket's descriptor, for a selector; -1 after ``close``."""
        return self._socket.fileno()

    @property
    def wants_to_write(self) -> bool:
        """True while something is left to send: call ``flush`` when the socket is writable."""
        return bool(self._to_send)

    def send(self, payload: bytes) -> None:
        """Send a frame, or as much of it as the peer takes now; the rest waits for ``flush``.

        Raises HandoffError when the peer is gone.
        """
        self._to_send += _LENGTH.pack(len(payload)) + payload
        self.flush()

    def flush(self) -> None:
        """Go on sending without blocking. Raises HandoffError when the peer is gone."""
        while self._to_send:
            try:
                sent = self._socket.send(self._to_send)
            except BlockingIOError:
                return
            except OSError as error:
                raise HandoffError(f"the hand-off connection broke: {error.strerror}") from None
            del self._to_send[:sent]

    def receive(self) -> list[bytes]:
        """Every whole frame that has arrived, at most one read's worth.

        Raises HandoffError when the peer is gone or sends a length that no frame has.
        """
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:
            raise HandoffError(f"the hand-off connection broke: {error.strerror}") from None
        if not data:
            raise HandoffError("the hand-off connection was closed")
        self._received += data
        return self._whole_frames()

    def _whole_frames(self) -> list[bytes]:
        frames = []
        at = 0
        received = self._received
        while len(received) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(received, at)
            if not 0 <= length <= MAX_FRAME_BYTES:
                raise HandoffError(f"a frame of {length} bytes is none of ours")
            end = at + _LENGTH.size + length
            if len(received) < end:
                break
            frames.append(bytes(received[at + _LENGTH.size : end]))
            at = end
        del received[:at]
        return frames

    def close(self) -> None:
        """Close the socket; what was not sent yet is dropped."""
        self._socket.close()
