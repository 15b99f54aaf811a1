"""What tests of the console share: a DAC of the module's own, a browser, somebody signed in."""

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.edge.browser import Tab, chromium, tab
from tests.edge.conftest import Dac, UpstreamProcess, make_dac

VIEWS = {
    "Overview": "/",
    "Playground": "/console/playground",
    "Requests": "/console/requests",
    "Analytics": "/console/analytics",
    "Audit": "/console/audit",
    "Keys": "/console/keys",
    "Budgets": "/console/budgets",
    "Models": "/console/models",
    "Health": "/console/health",
}
CANARY = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>\'"&'
WATCH = """() => {
  window.steps = [];
  const talk = document.querySelector("#talk");
  new MutationObserver(() => {
    const last = talk.querySelector(".turn.busy p");
    if (last) window.steps.push([performance.now(), last.textContent.length]);
  }).observe(talk, {childList: true, subtree: true, characterData: true});
}"""


@pytest.fixture(scope="module")
def console(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, upstream_process: UpstreamProcess
) -> Iterator[Dac]:
    """A DAC of this module's own: it begins empty. The module's DAC_FLAGS say how it is started."""
    flags = getattr(request.module, "DAC_FLAGS", ())
    running = make_dac(tmp_path_factory.mktemp("console"), upstream_process, *flags)  # type: ignore[arg-type]
    running.start()
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture
def desk(browser: Browser, console: Dac) -> Iterator[Tab]:
    """A page that nobody signed in on."""
    with tab(browser, console.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def session(console: Dac) -> str:
    """The admin's session."""
    headers = {"origin": console.url}
    answer = httpx.post(f"{console.url}/console/sign-in", data={"key": console.key}, headers=headers)
    assert answer.status_code == 303
    return answer.cookies["dac_console"]


@pytest.fixture
def inside(desk: Tab, session: str) -> Tab:
    """A page with the admin signed in."""
    desk.has_session(session)
    return desk


@pytest.fixture
def form(console: Dac, session: str) -> Iterator[httpx.Client]:
    """A signed-in client that sends forms as the browser does."""
    headers = {"origin": console.url, "accept": "text/html"}
    with httpx.Client(base_url=console.url, headers=headers, cookies={"dac_console": session}) as client:
        yield client


def csrf_of(client: httpx.Client) -> str:
    """The token on the page."""
    found = re.search(r'name="csrf" content="([0-9a-f]{64})"', client.get("/").text)
    assert found
    return found[1]


def new_key(dac: Dac, name: str, *scopes: str) -> tuple[str, str]:
    """A key made through the API: its id and token."""
    made = httpx.post(f"{dac.url}/v1/keys", json={"name": name, "scopes": scopes}, headers=dac.headers).json()
    return made["key"]["key_id"], made["token"]


def revoke(dac: Dac, key_id: str) -> None:
    """Revokes a key through the API, and waits until it is refused."""
    assert httpx.delete(f"{dac.url}/v1/keys/{key_id}", headers=dac.headers).status_code == 200


def says(page_tab: Tab, sentence: str | re.Pattern[str]) -> None:
    """The page shows a sentence."""
    expect(page_tab.page.get_by_text(sentence).first).to_be_visible()
