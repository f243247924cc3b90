"""The tables of the monitor's page: sorting, filtering, folding, and updates that disturb nobody."""

from pathlib import Path

import msgspec

from shared.overview import Channel
from tests.workers.overviews import TIME_MS, make_bad_overview, make_channel, make_overview
from tests.workers.shown_page import ShownPage

COUNTERS = ("received", "delivered", "pending", "reconnects", "offline_seconds", "lost")
COLUMNS = ("state", "per_second", "history", "last_message_ms", *COUNTERS)
_WATCH = """
window.touched = new Set();
new MutationObserver((records) => {
  for (const { target } of records) {
    const element = target.nodeType === Node.TEXT_NODE ? target.parentElement : target;
    const { channel, total } = element.closest("[data-channel], [data-total]")?.dataset ?? {};
    touched.add(channel ?? total ?? element.outerHTML);
  }
}).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
"""
FOCUSED = "document.activeElement.closest('[data-channel]')?.dataset.channel"


def test_the_keyboard_sorts_and_a_reload_remembers(tmp_path: Path) -> None:
    overview = make_overview(
        read=[make_channel(number, per_second=rate) for number, rate in enumerate((2, 9, 4))]
    )
    listed = ["channel000", "channel001", "channel002"]
    with ShownPage(tmp_path, overview) as page:
        browser, head = page.browser, "th.c-per_second"
        browser.click("#filter", loads=False)
        for _ in range(3):
            browser.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Msgs/s"
        browser.press("Enter")
        assert browser.attribute_of(head, "aria-sort") == "descending"
        assert page.channels() == ["channel001", "channel002", "channel000"]
        browser.press(" ")
        assert browser.attribute_of(head, "aria-sort") == "ascending"
        assert page.channels() == ["channel000", "channel002", "channel001"]
        page.reload()
        assert browser.attribute_of(head, "aria-sort") == "ascending"
        assert page.channels() == ["channel000", "channel002", "channel001"]
        browser.click(f"{head} button", loads=False)
        assert browser.attribute_of(head, "aria-sort") is None
        assert page.channels() == listed


def test_every_column_sorts_and_what_is_not_known_is_last(tmp_path: Path) -> None:
    def one(number: int, place: int) -> Channel:
        return make_channel(
            number,
            state=("no reader", "not joined", "joined")[place],
            history=[None] * 59 + [30 - place],
            last_message_ms=TIME_MS - 90_000 + 1000 * place,
            lost={"spool_full": 10 - place},
            **dict.fromkeys(("per_second", "received", "delivered", "pending"), 7 - place),
            **dict.fromkeys(("reconnects", "offline_seconds"), 7 - place),
        )

    unknown = make_channel(3, per_second=None, history=[None] * 60, last_message_ms=0, lost={}, received=0)
    unknown = msgspec.structs.replace(unknown, delivered=0, pending=0, reconnects=0, offline_seconds=0.0)
    read = [unknown, one(0, 2), one(1, 0), one(2, 1)]
    with ShownPage(tmp_path, make_overview(read=read)) as page:
        for field in COLUMNS:
            page.browser.click(f"th.c-{field} button", loads=False)
            assert page.channels()[:2] == ["channel001", "channel002"], field
            if field in ("per_second", "history", "last_message_ms"):
                page.browser.click(f"th.c-{field} button", loads=False)
                assert page.channels() == ["channel000", "channel002", "channel001", "channel003"]
        page.browser.click("th.c-name button", loads=False)
        assert page.channels() == [f"channel00{number}" for number in range(4)]


def test_channels_are_filtered_by_text_and_by_problems(tmp_path: Path) -> None:
    with ShownPage(tmp_path, make_bad_overview(20)) as page:
        page.browser.click("#filter", loads=False)
        page.browser.write("Channel01")
        assert page.channels() == [f"channel01{number}" for number in range(10)]
        assert page.text("#channel-count") == "18 of 20 joined, 10 shown"
        page.browser.write("zzz")
        assert page.channels() == []
        assert page.text("#no-match") == "No channel matches."
        assert not page.is_hidden("#no-match")
        page.evaluate("(() => { const box = document.getElementById('filter'); box.select(); })()")
        page.browser.write("FATAL")
        assert page.channels() == ["channel003"]
        page.browser.press("Escape")
        page.browser.click("#only-problems", loads=False)
        assert page.channels() == ["channel000", "channel003", "channel005"]
        page.reload()
        assert page.channels() == ["channel000", "channel003", "channel005"]


def test_a_channel_shows_more_of_itself(tmp_path: Path) -> None:
    with ShownPage(tmp_path, make_overview(3)) as page:
        row = '[data-channel="channel001"]'
        assert page.is_hidden(f'{row} [data-field="rejected"]')
        page.evaluate("(one) => document.querySelector(one).focus()", f"{row} button")
        page.browser.press("Enter")
        assert page.browser.attribute_of(f"{row} button", "aria-expanded") == "true"
        assert not page.is_hidden(f'{row} [data-field="rejected"]')
        assert page.text(f'{row} [data-field="rejected"]') == "2 (2 no_tags)"
        page.browser.press(" ")
        assert page.is_hidden(f'{row} [data-field="rejected"]')


def test_readers_are_folded_but_those_in_trouble(tmp_path: Path) -> None:
    with ShownPage(tmp_path, make_bad_overview(20)) as page:
        shown = (
            "[...document.querySelectorAll('[data-worker]:not([hidden])')].map((row) => row.dataset.worker)"
        )
        programs = ["channel-sync", "kafka", "monitor", "producer", "token-refresher", "watchdog"]
        assert page.evaluate(shown) == [*programs, "reader-channel003"]
        assert page.text('[data-readers="state"]') == "19 of 20 run"
        readers = [one for one in page.server.overview.workers if one.name.startswith("reader-")]
        memory = sum(one.memory_bytes or 0 for one in readers)
        assert page.value('[data-readers="memory_bytes"]') == str(memory)
        assert page.value('[data-readers="restarts"]') == str(sum(one.restarts for one in readers))
        page.browser.click("#reader-summary button", loads=False)
        assert len(page.evaluate(shown)) == 26


def test_an_update_of_200_channels_touches_only_what_changed(tmp_path: Path) -> None:
    overview = make_overview(200)
    with ShownPage(tmp_path, overview) as page:
        page.evaluate(f"(() => {{ {_WATCH} }})()")
        read = list(overview.channels)
        read[7] = msgspec.structs.replace(read[7], received=999_999, per_second=55.5)
        totals = msgspec.structs.replace(overview.totals, received=9_999_999)
        page.server.overview = msgspec.structs.replace(overview, channels=read, totals=totals)
        page.browser.wait_for("document.querySelector('[data-total=received]').dataset.value === '9999999'")
        page.wait_polls(3)
        assert sorted(page.evaluate("[...touched]")) == ["channel007", "received"]
        assert page.text('[data-channel="channel007"] [data-field="per_second"]') == "56"


def test_focus_place_and_what_is_open_survive_updates(tmp_path: Path) -> None:
    with ShownPage(tmp_path, make_overview(200)) as page:
        page.evaluate("window.document_is = 'the same'")
        row = '[data-channel="channel120"]'
        page.browser.click(f"{row} button", loads=False)
        place = page.evaluate("scrollY")
        assert place > 1000
        for number in range(3):
            read = [make_channel(one, received=7_000_000 + number) for one in range(200)]
            page.show(make_overview(read=read))
            assert page.value(f'{row} [data-field="received"]') == str(7_000_000 + number)
        assert page.evaluate(FOCUSED) == "channel120"
        assert page.evaluate("scrollY") == place
        assert page.browser.attribute_of(f"{row} button", "aria-expanded") == "true"
        assert page.evaluate("window.document_is") == "the same"


def test_channels_come_and_go_around_the_focus(tmp_path: Path) -> None:
    with ShownPage(tmp_path, make_overview(5)) as page:
        page.browser.click('[data-channel="channel002"] button', loads=False)
        page.show(make_overview(read=[make_channel(number) for number in (9, 4, 2, 0)]))
        assert page.channels() == ["channel009", "channel004", "channel002", "channel000"]
        assert page.evaluate(FOCUSED) == "channel002"
        page.show(make_overview(read=[make_channel(number) for number in (9, 4, 0)]))
        assert page.evaluate(FOCUSED) == "channel000"
        page.show(make_overview(0))
        assert page.channels() == []
        assert page.evaluate("document.activeElement.id") == "filter"


def test_rows_follow_the_sort_but_not_around_the_focus(tmp_path: Path) -> None:
    def rates(*numbers: float) -> list[Channel]:
        return [make_channel(number, per_second=rate) for number, rate in enumerate(numbers)]

    with ShownPage(tmp_path, make_overview(read=rates(1, 2, 3))) as page:
        page.browser.click("th.c-per_second button", loads=False)
        assert page.channels() == ["channel002", "channel001", "channel000"]
        page.server.overview = make_overview(read=rates(30, 20, 10))
        page.browser.wait_for("document.querySelector('[data-channel]').dataset.channel === 'channel000'")
        assert page.channels() == ["channel000", "channel001", "channel002"]
        page.evaluate("document.querySelector('[data-channel=channel001] button').focus()")
        # It would be time to change places again.
        page.evaluate("performance.now = () => performance.timeOrigin")
        page.show(make_overview(read=rates(1, 2, 3)))
        page.wait_polls()
        assert page.channels() == ["channel000", "channel001", "channel002"]
        page.evaluate("document.activeElement.blur()")
        page.browser.wait_for("document.querySelector('[data-channel]').dataset.channel === 'channel002'")
