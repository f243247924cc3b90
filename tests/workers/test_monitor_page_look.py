"""Whether everybody can use the monitor's page: small screens, contrast, screen readers."""

import re
from pathlib import Path

import pytest

from shared.overview import Overview
from tests.commands.browser import DESKTOP, PHONE, TABLET
from tests.workers.overviews import make_bad_overview, make_overview
from tests.workers.shown_page import STATE_IS, ShownPage
from workers.monitor_app import PAGE, page_headers

LEAST_CONTRAST = 4.5
# The contrast of every text that is shown, with what was measured: the text, or the sign before it.
_CONTRASTS = """(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const linear = parts(colour).slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if ((parts(colour)[3] ?? 1) > 0) return colour;
    }
  };
  const found = [];
  const measure = (element, pseudo, text) => {
    const [one, other] = [getComputedStyle(element, pseudo).color, behind(element)].map(luminance);
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    found.push([contrast, `${text} in ${element.outerHTML.slice(0, 80)}`]);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { data, parentElement } = texts.currentNode;
    if (data.trim() && parentElement.checkVisibility()) measure(parentElement, null, data);
  }
  for (const element of document.querySelectorAll("[data-tone], .name")) {
    if (element.checkVisibility()) measure(element, "::before", "sign");
  }
  return found;
})()"""
_NAMED = {
    ("main", ""),
    ("banner", ""),
    ("contentinfo", ""),
    ("navigation", "For machines"),
    ("region", "Totals"),
    ("region", "Channels"),
    ("region", "Workers"),
    ("searchbox", "Filter"),
    ("checkbox", "Only with problems"),
    ("columnheader", "Last message"),
    ("button", "channel000"),
    ("button", "Readers"),
    ("rowheader", "producer"),
}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("channels", [0, 1, 20, 200])
def test_nothing_is_wider_than_the_screen_and_names_have_room(
    tmp_path: Path, channels: int, dark: bool
) -> None:
    with ShownPage(tmp_path, make_overview(channels), PHONE, dark=dark) as page:
        for overview in (page.server.overview, make_bad_overview(channels)):
            page.show(overview)
            for size in (PHONE, (320, 568), TABLET, DESKTOP):
                page.browser.resize(size)
                assert page.browser.overflow() <= 0, size
        page.evaluate("document.querySelectorAll('.name').forEach((button) => button.click())")
        for size in (PHONE, TABLET, DESKTOP):
            page.browser.resize(size)
            assert page.browser.overflow() <= 0, size
        if channels:
            for size in (TABLET, DESKTOP):
                page.browser.resize(size)
                page.browser.wait_for("document.querySelector('tbody .c-name').offsetWidth > 140")
        background = {False: "rgb(244, 242, 248)", True: "rgb(20, 18, 24)"}[dark]
        assert page.browser.style_of("body", "background-color") == background
        assert page.browser.warnings == []


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("overview", [make_overview(7), make_bad_overview(20)], ids=["well", "bad"])
def test_every_text_has_enough_contrast(tmp_path: Path, overview: Overview, size: tuple[int, int]) -> None:
    with ShownPage(tmp_path, overview, size) as page:
        page.evaluate("document.querySelectorAll('.name').forEach((button) => button.click())")
        page.browser.click("th.c-name button", loads=False)
        for state in ("shown", "lost"):
            for dark in (False, True):
                page.browser.prefer(dark=dark, still=True)
                contrasts = page.evaluate(_CONTRASTS)
                assert len(contrasts) > 100
                weak = [(contrast, what) for contrast, what in contrasts if contrast < LEAST_CONTRAST]
                assert weak == [], (state, dark)
            page.server.stop()
            page.browser.wait_for(STATE_IS, "lost")


def test_screen_readers_are_told_what_everything_is(tmp_path: Path) -> None:
    with ShownPage(tmp_path, make_bad_overview(20)) as page:
        names = page.browser.names()
        assert set(names) >= _NAMED
        for role in (
            "button",
            "searchbox",
            "checkbox",
            "link",
            "image",
            "table",
            "columnheader",
            "rowheader",
        ):
            found = [name for one, name in names if one == role]
            assert found, role
            assert all(found), role
        # The signs before the words are not read out; the title has one for the tab.
        spoken = [name for role, name in names if role != "RootWebArea"]
        assert not any(sign in name for name in spoken for sign in "✓✕▸▾▲▼")


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_tables_stay_tables_on_every_screen(tmp_path: Path, size: tuple[int, int]) -> None:
    with ShownPage(tmp_path, make_overview(3), size) as page:
        assert page.evaluate(
            "[...document.querySelectorAll('table')].every((one) => one.caption?.textContent)"
        )
        assert page.evaluate("[...document.querySelectorAll('th')].every((one) => one.scope)")
        roles = [role for role, _ in page.browser.names()]
        assert roles.count("table") == 2
        # Three channels, six programs, three readers and their sum, and the two rows of headings.
        assert roles.count("row") == 3 + 6 + 4 + 2


def test_only_the_sentence_and_a_lost_connection_are_read_out_by_themselves(tmp_path: Path) -> None:
    with ShownPage(tmp_path, make_overview(3, sentence="All is well: 10.5 a second.")) as page:
        live = "document.querySelectorAll('[aria-live], [role=status], [role=alert]').length"
        assert page.evaluate(live) == 2
        assert page.browser.attribute_of("#sentence", "aria-live") == "polite"
        # A number that changes each second is not news.
        page.show(make_overview(3, sentence="All is well: 1,011 a second."))
        assert page.browser.attribute_of("#sentence", "aria-live") == "off"
        page.show(make_overview(3, sentence="Kafka takes no messages."))
        assert page.browser.attribute_of("#sentence", "aria-live") == "polite"


def test_focus_is_seen(tmp_path: Path) -> None:
    with ShownPage(tmp_path, make_overview(2)) as page:
        seen = set()
        for _ in range(22):
            page.browser.press("Tab")
            style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            what = page.evaluate("document.activeElement.textContent || document.activeElement.id")
            if what and page.evaluate("document.activeElement !== document.body"):
                assert style == "solid", what
                seen.add(what)
        assert seen >= {"only-problems", "filter", "Lost", "channel000", "channel001", "Readers", "/readyz"}


def test_motion_is_left_out_where_it_is_not_wanted(tmp_path: Path) -> None:
    with ShownPage(tmp_path, make_overview(1)) as page:
        assert page.browser.style_of("#spool-bar span", "transition-duration") == "0.4s"
        page.browser.prefer(dark=False, still=True)
        times = "[...document.querySelectorAll('*')].map((one) => getComputedStyle(one).transitionDuration)"
        assert set(page.evaluate(times)) == {"0s"}


def test_the_file_is_as_its_policy_wants_it() -> None:
    page = PAGE.read_text("utf-8")
    markup = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    assert len(re.findall(r"<style\b", page)) == len(re.findall(r"<script\b", page)) == 1
    assert not re.search(r"\s(style|on\w+)=", markup)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", page)
    assert page_headers(page)["Content-Security-Policy"].count("'sha256-") == 2
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
