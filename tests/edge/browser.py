"""Headless Chromium for tests of the console: one browser, an empty page for a test, and nothing unexpected on it."""

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Iterator

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE = (1280, 860)
NARROW = (360, 740)
IS_DARK = "matchMedia('(prefers-color-scheme: dark)').matches"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


def executable() -> str | None:
    """Chromium, where the system or Playwright has it."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser. Fails with what to do when there is none."""
    with sync_playwright() as playwright:
        path = executable() or playwright.chromium.executable_path
        assert pathlib.Path(path).exists(), "There is no Chromium here: `make browser` installs one."
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclasses.dataclass
class Tab:
    """A page with its troubles written down."""

    page: Page
    url: str
    troubles: list[str] = dataclasses.field(default_factory=list)
    expected: list[str] = dataclasses.field(default_factory=list)
    """Parts of messages that belong to the test, e.g. "401" when a key is refused."""

    def goes(self, path: str) -> None:
        """Opens a path."""
        self.page.goto(self.url + path)

    def signs_in(self, key: str) -> None:
        """Signs in on the card."""
        self.goes("/")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()

    def has_session(self, cookie: str) -> None:
        """Is signed in already."""
        self.page.context.add_cookies(
            [{"name": "dac_console", "value": cookie, "url": self.url, "httpOnly": True, "sameSite": "Strict"}]
        )

    def unexpected(self) -> list[str]:
        """What went wrong on the page that no test asked for."""
        return [one for one in self.troubles if not any(part in one for part in self.expected)]

    def violations(self, rules: list[str] | None = None) -> list[str]:
        """Serious and critical findings of axe, with the elements they are about; `rules` = only these."""
        # What holds is not described: that takes axe longer than to look.
        options = f"{{runOnly: {rules or TAGS}, resultTypes: ['violations']}}"
        found = self.page.evaluate(f"{AXE_SCRIPT}; axe.run({options}).then(({{violations}}) => violations)")
        return [
            f"{self.page.url}: {one['id']} ({one['impact']}): {node['html'][:160]} {node['failureSummary'][:300]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"][:2]
        ]

    def overflow(self) -> int:
        """How many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@contextlib.contextmanager
def tab(browser: Browser, url: str, *, size: tuple[int, int] = WIDE, dark: bool = False) -> Iterator[Tab]:
    """A page without cookies, storage or cache. One of its kind is used again, emptied: a new one costs a second."""
    page = page_of(browser, size, dark)
    opened = Tab(page, url)

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            opened.troubles.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def failed(error: Error) -> None:
        opened.troubles.append(f"exception: {error}")

    def asked(request: Request) -> None:
        if not request.url.startswith((url, "data:", "about:blank")):
            opened.troubles.append(f"outside: {request.url}")

    listeners = (("console", heard), ("pageerror", failed), ("request", asked))
    for event, listener in listeners:
        page.on(event, listener)  # type: ignore[call-overload]
    try:
        yield opened
        assert opened.unexpected() == []
    except BaseException:
        page.context.close()
        raise
    else:
        # What still goes on ends here, and is heard by nobody.
        for event, listener in listeners:
            page.remove_listener(event, listener)
        page.goto("about:blank")
        page.context.clear_cookies()
        devtools = page.context.new_cdp_session(page)
        devtools.send("Storage.clearDataForOrigin", {"origin": url, "storageTypes": "all"})
        devtools.send("Network.clearBrowserCache")
        devtools.detach()


def page_of(browser: Browser, size: tuple[int, int], dark: bool) -> Page:
    """The open page of this kind, or a new one in a context of its own."""
    viewport, scheme = {"width": size[0], "height": size[1]}, "dark" if dark else "light"
    for context in browser.contexts:
        page = context.pages[0] if context.pages else None
        if page and page.viewport_size == viewport and page.evaluate(IS_DARK) == dark:
            return page
    context = browser.new_context(
        viewport=viewport, color_scheme=scheme, timezone_id="Europe/Berlin", locale="en-GB", reduced_motion="reduce"
    )
    context.set_default_timeout(8000)
    return context.new_page()
