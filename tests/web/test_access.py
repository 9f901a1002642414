"""Goal: whoever sees little, hears the page instead, or has only a keyboard can use all of it.

Method: headless Chromium; colours as it computes them, what it tells a screen reader of a page
(its accessibility tree), and where the focus goes. Each look is tried first at something bad.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from tests.browser import browse
from tests.mosquitto_fixture import mosquitto_address
from tests.web.alone import at_broker
from tests.web.alone import page as page_alone
from tests.web.test_page import SLOW, browsing, sign_in, start_script

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser import Browser
    from tests.web.conftest import Page
    from workrs.ports.bus import Address

__all__ = ["mosquitto_address"]
FAINT = """
(() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = c => c <= 10.3 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = c => 0.2126 * light(c[0]) + 0.7152 * light(c[1]) + 0.0722 * light(c[2]);
  const ratio = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)];
    return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
  };
  const mixed = (over, under, part) => over * part + under * (1 - part);
  const over = (c, ground) => c.slice(0, 3).map((v, i) => mixed(v, ground[i], c[3] ?? 1));
  const ground = e => {
    if (!e) return [255, 255, 255];
    const own = parse(getComputedStyle(e).backgroundColor);
    return (own[3] ?? 1) === 1 ? own : over(own, ground(e.parentElement));
  };
  const opacity = e => e ? Number(getComputedStyle(e).opacity) * opacity(e.parentElement) : 1;
  const found = [];
  for (const e of document.body.querySelectorAll('*')) {
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    if (!box.width || !box.height || style.visibility === 'hidden') continue;
    const written = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    const field = e.matches('input, textarea');
    const colour = over([...parse(style.color).slice(0, 3), opacity(e)], ground(e));
    if ((written || field) && ratio(colour, ground(e)) < 4.5) found.push(e.outerHTML.slice(0, 120));
    // The edge of a field is all that shows where it is.
    const edge = ratio(parse(style.borderTopColor), ground(e.parentElement));
    if (field && edge < 3) found.push('edge of ' + e.id);
  }
  return found.join('; ');
})()
"""
BAD = """
document.body.insertAdjacentHTML('beforeend', '<p id=bad tabindex=0>faint</p>');
document.getElementById('bad').style.color = 'var(--edge)';
"""
FOCUS = """
(() => {
  const e = document.activeElement, style = getComputedStyle(e);
  const all = [...document.querySelectorAll('*')];
  if (e === document.body) return '';
  const is_seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  return JSON.stringify([all.indexOf(e), is_seen, e.outerHTML.slice(0, 80)]);
})()
"""


async def tree(browser: Browser) -> list[dict[str, Any]]:
    """Return what a screen reader has of the page."""
    found = await browser.do("Accessibility.getFullAXTree")
    return [each for each in found["nodes"] if not each["ignored"]]


def role(node: dict[str, Any]) -> str:
    return str(node.get("role", {}).get("value", ""))


def name(node: dict[str, Any]) -> str:
    return str(node.get("name", {}).get("value", "")).strip()


def nameless(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what takes the focus and is told as nothing."""
    return [
        node
        for node in nodes
        if any(p["name"] == "focusable" and p["value"].get("value") for p in node["properties"])
        and role(node) != "RootWebArea"
        and not name(node)
    ]


async def look(browser: Browser) -> None:
    """Look at a page in light and in dark, and listen to it."""
    for dark in (False, True):
        await browser.size(1280, 800, dark=dark)
        await browser.until("document.getAnimations().length === 0")
        assert await browser.value(FAINT) == ""
    nodes = [{"properties": [], **each} for each in await tree(browser)]
    roles = [role(node) for node in nodes]
    assert roles.count("main") == 1
    headings = [
        node
        for node in nodes
        if role(node) == "heading"
        and {"name": "level", "value": {"type": "integer", "value": 1}} in node["properties"]
    ]
    assert len(headings) == 1
    assert nameless(nodes) == []
    assert name(nodes[0]).endswith(" · Workrs")
    assert await browser.value("document.documentElement.lang") == "en"


async def tab_through(browser: Browser) -> list[tuple[int, bool, str]]:
    """Press Tab until the page is left; return where the focus was, and whether it was seen."""
    await browser.value("document.activeElement.blur()")
    found: list[tuple[int, bool, str]] = []
    for _ in range(40):
        await browser.key("Tab", 9)
        said = await browser.value(FOCUS)
        if not said or (found and json.loads(said)[0] == found[0][0]):
            break
        found.append(tuple(json.loads(said)))
    return found


def test_every_page_can_be_read_and_heard(page: Page, tmp_path: Path) -> None:
    script, failing = tmp_path / "slow.py", tmp_path / "failing.py"
    script.write_text(SLOW)
    failing.write_text("raise SystemExit('no such column')")

    async def act(browser: Browser) -> None:
        await browser.open(f"{page.base}/")
        await look(browser)
        await browser.type("#name", "Not A Name")
        await browser.press("form button.main")
        await browser.until_text("is not allowed")
        await look(browser)
        described = await browser.value("document.querySelector('[aria-describedby]').id")
        assert described == "name"
        await sign_in(browser, page, "reader")
        for path in ("/", "/new", "/new/python", "/jobs/none"):
            await browser.open(f"{page.base}{path}")
            await look(browser)
        await start_script(browser, page, failing)
        await browser.until_text("no such column")
        await look(browser)
        await start_script(browser, page, script)
        await browser.until("document.querySelector('progress')?.value > 0")
        await look(browser)
        job = await browser.value("location.pathname")
        await browser.open(f"{page.base}/")
        await look(browser)
        await browser.open(f"{page.base}{job}/cancel")
        await look(browser)
        # What these looks are for, they see.
        await browser.value(BAD)
        assert "faint" in await browser.value(FAINT)
        assert nameless([{"properties": [], **each} for each in await tree(browser)])
        await browser.press("button.danger")
        await browser.until_text("cancelled")

    browsing(page, tmp_path, act)


def test_the_focus_goes_through_a_page_in_order_and_is_seen(page: Page, tmp_path: Path) -> None:
    async def act(browser: Browser) -> None:
        await sign_in(browser, page, "focus")
        for path, least in (("/", 4), ("/new", 5), ("/new/python", 9), ("/jobs/none", 4)):
            await browser.open(f"{page.base}{path}")
            # What is typed into, or says what went wrong, is never replaced under one's hands.
            is_live = await browser.value("document.querySelector('[data-live]') !== null")
            assert is_live == (path == "/")
            found = await tab_through(browser)
            places = [place for place, _, _ in found]
            assert len(found) >= least, found
            assert places == sorted(places)
            assert "Skip to the content" in found[0][2]
            assert [what for _, is_seen, what in found if not is_seen] == []

    browsing(page, tmp_path, act)


def test_a_change_of_state_is_read_out(page: Page, tmp_path: Path) -> None:
    """A reader speaks what changes within an element of the role `status`, not a new element."""
    script = tmp_path / "slow.py"
    script.write_text(SLOW)

    async def act(browser: Browser) -> None:
        await sign_in(browser, page, "listener")
        await start_script(browser, page, script)
        await browser.until_text("running")
        await browser.value("document.getElementById('state').mark = 'the same element'")
        said = next(each for each in await tree(browser) if role(each) == "status")
        live = {each["name"]: each["value"].get("value") for each in said["properties"]}
        assert live["live"] == "polite"
        job = await browser.value("location.pathname")
        form = "new URLSearchParams({token: document.querySelector('[name=token]').value})"
        await browser.value(f"fetch('{job}/cancel', {{method: 'POST', body: {form}}})")
        await browser.until("document.getElementById('state').innerText.includes('cancelled')")
        assert await browser.value("document.getElementById('state').mark") == "the same element"
        assert await browser.value("document.getElementById('state').role") == "status"

    browsing(page, tmp_path, act)


def test_what_is_wrong_with_the_node_is_said_while_a_page_is_open(
    mosquitto_address: Address, tmp_path: Path
) -> None:
    trouble = [""]

    async def run() -> None:
        async with (
            page_alone(tmp_path, at_broker(mosquitto_address), trouble=lambda: trouble[0]) as base,
            browse(tmp_path / "profile") as browser,
        ):
            await browser.open(f"{base}/")
            await browser.type("#name", "watcher")
            await browser.press("form button.main")
            await browser.until_text("No jobs yet")
            await browser.value("window.mark = 'the same document'")
            trouble[0] = "This node hears no majority of the nodes."
            await browser.until_text(trouble[0])
            trouble[0] = ""
            await browser.until("!document.body.innerText.includes('no majority')")
            assert await browser.value("window.mark") == "the same document"

    asyncio.run(run())
