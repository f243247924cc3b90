"""What is written first in Python, with the libraries as they come.

One process per channel reads its chat with jaraco/irc and puts dicts on one multiprocessing.Queue; the main
process takes them off and sends them with kafka-python.
"""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from multiprocessing.queues import Queue
from typing import Any

import irc.client
from kafka import KafkaProducer

RECONNECT_SECONDS = 1
CLOSE_SECONDS = 0.5

Message = dict[str, Any]


class ChannelReader:
    """An anonymous viewer of one channel."""

    def __init__(self, channel: str, messages: "Queue[Message]") -> None:
        self._channel = channel
        self._messages = messages
        self._reactor = irc.client.Reactor()
        for event, handler in (
            ("welcome", self.on_welcome),
            ("pubmsg", self.on_pubmsg),
            # The library takes /me out of the other messages.
            ("action", self.on_pubmsg),
            ("disconnect", self.on_disconnect),
        ):
            self._reactor.add_global_handler(event, handler)

    def run(self) -> None:
        nick = f"justinfan{random.randint(1000, 80000)}"
        self._reactor.server().connect("127.0.0.1", int(os.environ["TWITCH_IRC_PORT"]), nick)
        self._reactor.process_forever()

    def on_welcome(self, connection: Any, _event: Any) -> None:
        connection.cap("REQ", "twitch.tv/tags", "twitch.tv/commands")
        connection.join(f"#{self._channel}")

    def on_pubmsg(self, _connection: Any, event: Any) -> None:
        tags = {tag["key"]: tag["value"] for tag in event.tags}
        text = event.arguments[0]
        self._messages.put(
            {
                "channel": event.target[1:],
                "userId": tags.get("user-id") or "",
                "username": event.source.nick,
                "message": text,
                "timestamp": int(tags.get("tmi-sent-ts") or time.time() * 1000),
                "emotes": emote_texts(tags.get("emotes") or "", text),
            }
        )

    def on_disconnect(self, connection: Any, _event: Any) -> None:
        while not connection.is_connected():
            time.sleep(RECONNECT_SECONDS)
            with contextlib.suppress(irc.client.ServerConnectionError):
                connection.reconnect()


def emote_texts(raw: str, text: str) -> list[str]:
    """The emotes of the tag ``id:start-end,start-end/id:start-end`` as they are in the text."""
    places: list[tuple[int, int]] = []
    for emote in filter(None, raw.split("/")):
        for place in emote.partition(":")[2].split(","):
            start, _, end = place.partition("-")
            places.append((int(start), int(end)))
    return [text[start : end + 1] for start, end in sorted(places) if start <= end < len(text)]


def read_channel(channel: str, messages: "Queue[Message]") -> None:
    # The main process has its own handler. At a regular exit this one would wait for room in a queue that
    # nobody reads any more.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Chat is not always UTF-8, and the library's default ends the process there.
    irc.client.ServerConnection.buffer_class.errors = "replace"
    ChannelReader(channel, messages).run()


def send_all(messages: "Queue[Message]") -> None:
    producer = KafkaProducer(
        bootstrap_servers=os.environ["KAFKA_BROKERS"],
        acks="all",
        linger_ms=5,
    )
    try:
        while True:
            message = messages.get()
            producer.send(
                os.environ["KAFKA_TOPIC"],
                key=message["channel"].encode(),
                value=json.dumps(message).encode(),
            )
    finally:
        producer.close(timeout=CLOSE_SECONDS)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit())
    context = multiprocessing.get_context("fork")
    messages: Queue[Message] = context.Queue()
    for channel in os.environ["CHANNELS"].split(","):
        # Daemons are ended by multiprocessing when the main process exits.
        context.Process(target=read_channel, args=(channel, messages), daemon=True).start()
    # Only now: the producer has a thread, which a fork would not survive.
    send_all(messages)


if __name__ == "__main__":
    main()
