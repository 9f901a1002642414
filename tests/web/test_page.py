"""Goal: a person uploads, watches, cancels and gets the result, with scripts or without.

Method: headless Chromium at the page of a real cluster, by mouse, by keyboard, and as a phone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.browser import Browser, browse, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.web.conftest import Page

SLOW = """\
import time
for step in range(5_000):
    with open("progress", "a") as said:
        said.write(f"{step / (600 + step)} step {step}\\n")
    time.sleep(0.1)
"""
"""Goes on for longer than any test, and is a percent further within a second at first."""
NOTHING_WIDER = "document.scrollingElement.scrollWidth <= innerWidth"
UNNAMED = """
[...document.querySelectorAll('input:not([type=hidden]), textarea, button, a, progress')]
    .filter(e => !(e.labels && e.labels.length) && !e.innerText && !e.ariaLabel)
    .map(e => e.outerHTML).join()
"""


def browsing(page: Page, tmp_path: Path, act: Callable[[Browser], Awaitable[None]]) -> None:
    """Have a browser do something; it must have talked to the page alone, without complaints."""

    async def run() -> None:
        async with browse(tmp_path / "profile") as browser:
            await browser.watch()
            await act(browser)
            assert [url for url in browser.asked if not url.startswith(page.base)] == []
            assert browser.complaints == []

    asyncio.run(run())


async def sign_in(browser: Browser, page: Page, name: str) -> None:
    await browser.open(f"{page.base}/")
    await browser.type("#name", name)
    await browser.press("form button.main")
    await browser.until_text("Your jobs")


async def start_script(browser: Browser, page: Page, script: Path) -> None:
    await browser.open(f"{page.base}/new/python")
    await browser.choose("#script", script)
    await browser.press("form.card button.main")
    await browser.until("location.pathname.startsWith('/jobs/')")


def test_a_job_from_the_upload_to_the_download(page: Page, tmp_path: Path) -> None:
    data, saved = tmp_path / "numbers.csv", tmp_path / "saved"
    data.write_text("1,2,3\n" * 5)

    async def act(browser: Browser) -> None:
        await browser.do("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(saved))
        await sign_in(browser, page, "story")
        await browser.until_text("No jobs yet")
        await browser.press("main a.button")
        await browser.until_text("What should be done?")
        assert "somebody else" not in await browser.text()
        await browser.press("a[href='/new/echo']")
        await browser.until_text("gives its input back")
        await browser.choose("#data", data)
        await browser.press("form.card button.main")
        await browser.until_text("succeeded")
        text = await browser.text()
        assert "numbers.csv" in text
        assert "1,2,3" in text
        await browser.press("a[download]")

        async def is_saved() -> bool:
            return [each.read_bytes() for each in saved.glob("echo-*.result")] == [
                data.read_bytes()
            ]

        await until(is_saved)
        await browser.press("header form button")
        await browser.until_text("Device name")
        await browser.open(f"{page.base}/jobs/none")
        await browser.until_text("Sign in first")

    browsing(page, tmp_path, act)


def test_a_job_is_watched_live_and_cancelled_after_a_question(page: Page, tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)

    async def act(browser: Browser) -> None:
        await sign_in(browser, page, "watcher")
        await start_script(browser, page, script)
        await browser.value("window.mark = 'the same document'")
        await browser.until_text("running on a1")
        await browser.until_text("step 1")
        before = await browser.value("document.querySelector('progress').value")
        await browser.until(f"document.querySelector('progress')?.value > {before or 0}")
        assert await browser.value("window.mark") == "the same document"
        where = await browser.value("location.href")
        await browser.open(f"{page.base}/")
        await browser.until("document.querySelector('table progress')?.value > 0")
        await browser.open(where)
        await browser.press_for("a.danger", "Cancel this job?")
        await browser.press("main a.button")
        await browser.until_text("running")
        await browser.press_for("a.danger", "Cancel this job?")
        await browser.press("button.danger")
        await browser.until_text("cancelled")
        await browser.until("document.querySelector('a.danger') === null")

    browsing(page, tmp_path, act)


def test_all_of_it_works_without_scripts(page: Page, tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)

    async def act(browser: Browser) -> None:
        await browser.scripts(on=False)
        await sign_in(browser, page, "plain")
        await start_script(browser, page, script)
        await browser.until_text("step 2")  # the page reloads itself
        await browser.press_for("a.danger", "Cancel this job?")
        await browser.press("button.danger")
        await browser.until_text("cancelled")
        await browser.open(f"{page.base}/new/echo")
        await browser.type("#text", "written by hand")
        await browser.press("form.card button.main")
        await browser.until_text("succeeded")
        assert "written by hand" in await browser.text()

    browsing(page, tmp_path, act)


def test_all_of_it_works_by_keyboard(page: Page, tmp_path: Path) -> None:
    async def go_to(browser: Browser, selector: str) -> None:
        for _ in range(30):
            await browser.key("Tab", 9)
            if await browser.value(f"document.activeElement.matches({selector!r})"):
                return
        raise AssertionError(f"{selector} is not reached by the key Tab")

    async def act(browser: Browser) -> None:
        await browser.open(f"{page.base}/")
        await browser.until("document.activeElement.id === 'name'")  # as of the first picture
        await browser.do("Input.insertText", text="keys")
        await browser.key("Enter", 13)
        await browser.until_text("No jobs yet")
        await go_to(browser, "a[href='/new']")
        await browser.key("Enter", 13)
        await browser.until_text("What should be done?")
        await go_to(browser, "a[href='/new/echo']")
        await browser.key("Enter", 13)
        await browser.until_text("gives its input back")
        await go_to(browser, "textarea")
        await browser.do("Input.insertText", text="typed")
        await go_to(browser, "form.card button")
        await browser.key("Enter", 13)
        await browser.until_text("succeeded")

    browsing(page, tmp_path, act)


def test_no_page_is_wider_than_a_phone_and_everything_has_a_name(
    page: Page, tmp_path: Path
) -> None:
    script = tmp_path / ("long-" * 20 + ".py")
    script.write_text(SLOW)
    failing = tmp_path / "failing.py"
    failing.write_text("raise SystemExit('x' * 500 + ' ' + 'y ' * 500)")

    async def check(browser: Browser, path: str) -> None:
        await browser.open(f"{page.base}{path}")
        for width, dark in ((390, False), (390, True), (1280, False)):
            await browser.size(width, 844, dark=dark)
            assert await browser.value(NOTHING_WIDER), (path, width)
            await browser.picture(tmp_path / f"{path.replace('/', '_')}-{width}-{dark}.png")
        assert await browser.value(UNNAMED) == ""

    async def act(browser: Browser) -> None:
        await check(browser, "/sign-in")
        await sign_in(browser, page, "p" * 63)
        await check(browser, "/")
        for path in ("/new", "/new/echo", "/new/python", "/jobs/none"):
            await check(browser, path)
        await start_script(browser, page, failing)
        await browser.until_text("failed")
        await check(browser, await browser.value("location.pathname"))
        await start_script(browser, page, script)
        await browser.until_text("running")
        job = await browser.value("location.pathname")
        for path in (job, "/", f"{job}/cancel"):
            await check(browser, path)
        await browser.press("button.danger")
        await browser.until_text("cancelled")

    browsing(page, tmp_path, act)


def test_what_is_wrong_with_an_upload_is_said_in_the_form(page: Page, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(b"x" * (3 << 20))

    async def act(browser: Browser) -> None:
        await sign_in(browser, page, "wrong")
        await browser.open(f"{page.base}/new/python")
        await browser.type("#text", "kept data")
        await browser.press("form.card button.main")
        await browser.until_text("needs a script")
        assert await browser.value("document.querySelector('#text').value") == "kept data"
        await browser.choose("#data", large)
        await browser.press("form.card button.main")
        await browser.until_text("larger than 2 MiB")
        await browser.open(f"{page.base}/")
        await browser.until_text("No jobs yet")

    browsing(page, tmp_path, act)


INJECTED = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>"


def test_what_files_programs_and_results_say_is_text(page: Page, tmp_path: Path) -> None:
    script = tmp_path / "<img src=x onerror=window.hacked=1>.py"
    script.write_text(f"open('progress','w').write('0.5 {INJECTED}\\n')\nprint('{INJECTED}')")
    failing = tmp_path / "failing.py"
    failing.write_text(f"raise SystemExit('{INJECTED}')")

    async def act(browser: Browser) -> None:
        await sign_in(browser, page, "injector")
        for each, word in ((script, "succeeded"), (failing, "failed")):
            await start_script(browser, page, each)
            await browser.until_text(word)
            assert INJECTED in await browser.text()
            assert await browser.value("window.hacked") is None
        await browser.open(f"{page.base}/")
        assert script.name in await browser.text()
        assert await browser.value("document.querySelectorAll('img').length") == 1
        assert await browser.value("window.hacked") is None

    browsing(page, tmp_path, act)
