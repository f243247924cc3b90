"""The page in a real browser, with real workers behind it."""

from collections.abc import Iterator

import pytest

from tests.commands.browser import DESKTOP, Browser, find_browser
from tests.fakes.fake_twitch import FakeTwitch, chat_line
from tests.processes.broker import Broker
from tests.processes.flow import Flow
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import Service
from tests.processes.test_main_job import start
from tests.processes.test_monitor import EVERYBODY, Watcher, kill

VALUE_OF = """(selector) => {
    const found = document.querySelector(selector)
    return found && found.dataset.value
}"""
IS = f"(selector, value) => ({VALUE_OF})(selector) === value"
METRICS = {
    "received": "twitch_messages_received_total",
    "delivered": "twitch_messages_delivered_total",
    "duplicate": "twitch_messages_duplicate_total",
    "pending": "twitch_handoff_pending_messages",
    "reconnects": "twitch_reader_reconnects_total",
}


@pytest.fixture(autouse=True)
def _browser_is_there() -> None:
    """Before anything is started."""
    find_browser()


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser"), DESKTOP, scripts=True) as browser:
        yield browser


@pytest.fixture
def watcher(service: Service) -> Iterator[Watcher]:
    watcher = Watcher(service)
    yield watcher
    watcher.http.close()


def cell(channel: str, field: str) -> str:
    return f'[data-channel="{channel}"] [data-field="{field}"]'


def look(browser: Browser, watcher: Watcher) -> None:
    watcher.wait_ready()
    browser.open(watcher.service.monitor)
    browser.wait_for("document.documentElement.dataset.state === 'ok'")


def test_the_numbers_on_the_page_are_those_of_the_metrics(
    service: Service, watcher: Watcher, twitch: FakeTwitch, topic: KafkaReader, browser: Browser
) -> None:
    start(service, twitch, "alpha", "beta")
    look(browser, watcher)
    for channel, count in (("alpha", 1234), ("beta", 7)):
        twitch.play(channel, [chat_line(channel, f"message {number}") for number in range(count)])
    twitch.send("alpha", *[chat_line("alpha", "twice", id="twice")] * 3)
    topic.wait_for("alpha", 1235)
    topic.wait_for("beta", 7)
    kill(service, "reader-beta")
    twitch.wait_joined("beta")
    twitch.close_all()
    watcher.wait_ready()
    watcher.wait_counted("alpha", 1237, 1235)
    browser.wait_for(IS, cell("alpha", "delivered"), "1235")
    browser.wait_for(IS, cell("alpha", "reconnects"), "1")
    metrics = watcher.metrics()
    for channel in ("alpha", "beta"):
        for field, metric in METRICS.items():
            browser.wait_for(IS, cell(channel, field), f"{metrics[metric, channel]:.0f}")
    for total in ("received", "delivered", "duplicate"):
        values = sum(metrics[METRICS[total], channel] for channel in ("alpha", "beta"))
        browser.wait_for(IS, f'[data-total="{total}"]', f"{values:.0f}")
    browser.wait_for(IS, '[data-total="lost"]', "0")
    browser.wait_for(IS, '[data-spool="messages"]', "0")
    for program in (*EVERYBODY, "reader-alpha", "reader-beta"):
        restarts = metrics["twitch_worker_restarts_total", program]
        browser.wait_for(IS, f'[data-worker="{program}"] [data-field="restarts"]', f"{restarts:.0f}")
    assert metrics["twitch_worker_restarts_total", "reader-beta"] == 1
    assert browser.evaluate("document.querySelector('#sentence').textContent").startswith(
        "All is well: 2 channels"
    )
    assert browser.warnings == []


def test_a_killed_broker_shows_on_the_page_and_so_does_its_return(
    service: Service, watcher: Watcher, twitch: FakeTwitch, own: Broker, browser: Browser
) -> None:
    service.environment["KAFKA_BROKERS"] = own.address
    start(service, twitch, "alpha")
    look(browser, watcher)
    flow = Flow(twitch, "alpha", 50)
    browser.wait_for(f"Number(({VALUE_OF})({cell('alpha', 'delivered')!r})) > 20")
    own.kill()
    browser.wait_for("document.documentElement.dataset.state === 'bad'")
    browser.wait_for("document.querySelector('#sentence').textContent.startsWith('Kafka takes no messages')")
    browser.wait_for(f"Number(({VALUE_OF})('[data-spool=\"messages\"]')) > 50")
    own.start()
    browser.wait_for("document.documentElement.dataset.state === 'ok'")
    sent = len(flow.finish())
    browser.wait_for(IS, cell("alpha", "delivered"), f"{sent}")
    browser.wait_for(IS, '[data-spool="messages"]', "0")
    assert browser.evaluate("performance.getEntriesByType('navigation').length") == 1
    assert browser.warnings == []


def test_a_monitor_that_is_away_shows_and_the_page_goes_on_by_itself(
    service: Service, watcher: Watcher, twitch: FakeTwitch, browser: Browser
) -> None:
    start(service, twitch, "alpha")
    look(browser, watcher)
    service.control("stop", "monitor")
    browser.wait_for("document.documentElement.dataset.state === 'lost'")
    browser.wait_for("!document.querySelector('#connection').hidden")
    service.control("start", "monitor")
    browser.wait_for("document.documentElement.dataset.state === 'ok'")
    browser.wait_for("document.querySelector('#connection').hidden")


def test_channels_appear_and_go_while_the_page_is_open(
    service: Service, watcher: Watcher, twitch: FakeTwitch, browser: Browser
) -> None:
    start(service, twitch, "alpha")
    look(browser, watcher)
    service.set_channels("alpha", "beta")
    browser.wait_for("document.querySelectorAll('[data-channel]').length === 2")
    service.set_channels("beta")
    browser.wait_for("document.querySelectorAll('[data-channel]').length === 1")
    browser.wait_for("document.querySelector('[data-channel]').dataset.channel === 'beta'")
    twitch.wait_joined("beta")
    browser.wait_for("document.documentElement.dataset.state === 'ok'")
