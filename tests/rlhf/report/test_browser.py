"""The page in a real browser: offline, light and dark, on a phone, by keyboard; it runs no one else's code."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.browser import ENTER, TAB, Browser, found
from rlhf.report.page import write
from tests.rlhf.report import runs

pytestmark = pytest.mark.skipif(found() is None, reason="no Chromium with its chromedriver on this machine")
DRAW = "plots.forEach(draw); return document.querySelectorAll('.plot .main-svg').length"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(runs.whole(tmp_path_factory.mktemp("runs") / "whole"))[0]


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with Browser() as opened:
        opened.offline()
        yield opened


def shown(window: Browser, page: Path, width: int = 1200, dark: bool = False) -> Browser:
    window.become(width, 900, dark)
    window.open(page.resolve().as_uri())
    return window


def test_it_opens_offline_and_draws_every_chart(window: Browser, page: Path) -> None:
    shown(window, page)
    assert window.ask(DRAW) > 15
    empty = "return plots.filter(p => !p.querySelector('.scatterlayer path, .barlayer path')).map(p => p.ariaLabel)"
    assert window.ask(empty) == []
    assert window.ask("return performance.getEntriesByType('resource').map(e => e.name)") == []
    assert window.said() == []


def test_what_others_wrote_does_not_run_and_is_shown_as_it_is(window: Browser, page: Path) -> None:
    shown(window, page)
    window.ask(DRAW)
    assert window.ask("return window.hacked === undefined")
    texts = window.ask("return [...document.querySelectorAll('.sample .text')].map(t => t.textContent)")
    assert runs.NASTY in texts
    words = window.ask("return document.querySelector('main').textContent")
    assert [place for place in runs.PLACES if runs.nasty(place) not in words.replace('\\"', '"')] == []
    labels = window.ask("return [...document.querySelectorAll('.plot .annotation-text')].map(t => t.textContent)")
    assert runs.nasty("judge") in labels
    assert window.ask("return document.querySelectorAll('main img').length") == 0


def test_light_and_dark(window: Browser, page: Path, tmp_path: Path) -> None:
    """As the system wishes it, and as the button says."""
    pictures = set()
    for dark in (False, True):
        shown(window, page, dark=dark)
        assert window.ask("return root.dataset.theme") == ("dark" if dark else "light")
        contrasts = window.ask(CONTRAST)
        assert len(contrasts) > 100 and min(contrasts) >= 4.5  # WCAG 2.2, 1.4.3
        pictures.add(window.picture(tmp_path / f"{dark}.png").read_bytes())
    assert len(pictures) == 2
    window.ask(DRAW)
    grid = "return getComputedStyle(document.querySelector('.plot .gridlayer path')).stroke"
    before = window.ask(grid)
    window.ask("document.getElementById('theme').click()")
    assert window.ask("return root.dataset.theme") == "light" and window.ask(grid) != before


CONTRAST = """
const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
  if (c.length < 4 || c[3] === 1) return c.slice(0, 3); } return [255, 255, 255]; };
const elements = [...document.querySelectorAll('main .soft, main .n, main p, main h2, main th, main .pill, main .up')];
return elements.filter(e => e.offsetParent && e.textContent.trim()).map(e => {
  const [a, b] = [light(rgb(getComputedStyle(e).color).slice(0, 3)), light(behind(e))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05); });
"""


@pytest.mark.parametrize("width", [360, 390, 820])
def test_nothing_is_wider_than_a_phone(window: Browser, page: Path, width: int) -> None:
    shown(window, page, width)
    window.ask(DRAW)
    assert window.ask("return document.documentElement.scrollWidth") == width
    wide = (
        "return [...document.querySelectorAll(arguments[0])].filter(e => e.getBoundingClientRect().right > innerWidth)"
    )
    assert window.ask(wide, "main .card, .card:not(.scroll) > *, .plot svg.main-svg") == []
    low = "return [...document.querySelectorAll(arguments[0])].filter(e => e.offsetParent && e.offsetHeight < 34)"
    assert window.ask(low, "#theme, #more, input, select") == []  # for a thumb


def test_by_keyboard(window: Browser, page: Path) -> None:
    shown(window, page)
    focus = """const e = document.activeElement, box = e.querySelector('.box');
      const ring = box ? getComputedStyle(box).strokeWidth === '3px' : getComputedStyle(e).outlineStyle !== 'none';
      return [e.id || e.getAttribute('href') || e.tagName, ring]"""
    seen = []
    while not seen or (seen[-1][0] != "more" and len(seen) < 60):
        window.press(TAB)
        seen += [one for one in [window.ask(focus)] if one[0] != "BODY"]  # as in the browser's own bar
    names = [name for name, _ in seen]
    assert names[0] == "#main"  # past the bar
    assert {"#samples", "theme", "#stage-ppo", "SUMMARY", "search", "sort", "more"} <= set(names)
    assert [name for name, ring in seen if not ring] == []  # wherever one is, one sees it
    window.press(ENTER)
    assert window.ask("return more.hidden")


def test_samples_are_searched_and_sorted(window: Browser, page: Path) -> None:
    shown(window, page)
    visible = "return [...list.children].filter(s => !s.hidden).map(s => s.querySelector('.policy .text').textContent)"
    assert len(window.ask(visible)) == 20 and window.ask("return count.value") == "30 of 30"
    window.ask("more.click()")
    assert len(window.ask(visible)) == 30
    put = "const [id, value, event] = arguments, e = document.getElementById(id)"
    put += "; e.value = value; e.dispatchEvent(new Event(event))"
    window.ask(put, "search", "after 12", "input")
    assert window.ask(visible) == ["After 12, with care."]
    window.ask(put, "search", "", "input")
    window.ask(put, "sort", "-reward", "change")
    assert window.ask(visible)[0] == "After 29, with care."
    window.ask(put, "sort", "+kl", "change")
    assert window.ask(visible)[:2] == [runs.NASTY, "After 1, with care."]
    window.ask(put, "search", "no such words", "input")
    assert window.ask("return count.value") == "0 of 30" and window.ask(visible) == []
