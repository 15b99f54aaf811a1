"""The console at `/` in a real browser in front of a real DAC, one process per service: empty, full, in trouble."""

# Fixtures are imported by name.
# ruff: noqa: F811

import contextlib
import re
import signal
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, expect

from tests.edge.browser import NARROW, Tab, tab
from tests.edge.conftest import Dac, UpstreamProcess
from tests.edge.console_desk import (  # noqa: F401
    CANARY,
    VIEWS,
    WATCH,
    browser,
    console,
    desk,
    inside,
    new_key,
    says,
    session,
)

DAC_FLAGS = ("--split",)
"""One of its processes is stopped later on."""

# Empty.


def test_an_empty_dac_says_what_to_do(inside: Tab, console: Dac) -> None:
    inside.goes("/")
    says(inside, "Nothing was asked yet.")
    expect(inside.page.locator("#latest-curl")).to_contain_text(f"curl {console.url}/v1/chat/completions")
    inside.goes("/console/requests")
    expect(inside.page.locator("#first-curl")).to_contain_text("Authorization: Bearer $DAC_API_KEY")
    inside.goes("/console/analytics")
    expect(inside.page.locator("#analytics-curl")).to_contain_text("Authorization: Bearer $DAC_API_KEY")
    says(inside, "Nothing to recommend from 0 requests")
    inside.goes("/console/budgets")
    expect(inside.page.locator("#budget-line")).to_contain_text("dac budget set --org")
    assert inside.violations() == []


# The playground.


def test_an_answer_streams_in_and_tells_its_route(inside: Tab, upstream_process: UpstreamProcess) -> None:
    upstream_process.script("ok", token_delay_s=0.02)
    inside.goes("/console/playground")
    inside.page.evaluate(WATCH)
    inside.page.get_by_label("Message", exact=True).fill("Count, please.")
    inside.page.get_by_role("button", name="Send").click()
    link = inside.page.get_by_role("link", name="Why this route")
    expect(link).to_be_visible()
    steps = inside.page.evaluate("window.steps")
    lengths = [length for _, length in steps]
    assert lengths == sorted(lengths) and len(set(lengths)) > 10, "the answer did not come in pieces"
    assert steps[-1][0] - steps[0][0] > 500
    meta = inside.page.locator(".turn .meta").last
    for part in ("mock/gpt-4o-mini", "scores", "tokens in, 60 out", "$0.0000", "first token", "in all"):
        expect(meta).to_contain_text(part)
    expect(inside.page.locator("#talk")).to_contain_text("summer autumn")
    assert inside.violations() == []
    link.click()
    expect(inside.page.get_by_role("heading", name="Why this route")).to_be_visible()
    expect(inside.page.get_by_role("region", name="Candidates")).to_contain_text("claude/sonnet")
    expect(inside.page.get_by_role("region", name="Attempts")).to_contain_text("HTTP 200")
    expect(inside.page.locator(".stages")).to_contain_text("first token")


def test_stop_stops(inside: Tab, console: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.script("ok", model="gpt-4o-mini", token_delay_s=0.1)
    inside.goes("/console/playground")
    inside.page.get_by_label("Model or profile").select_option("mock/gpt-4o-mini")
    inside.page.get_by_label("Message", exact=True).fill("Count slowly.")
    inside.page.keyboard.press("Control+Enter")
    expect(inside.page.locator("#talk")).to_contain_text("two three")
    inside.page.get_by_role("button", name="Stop").click()
    says(inside, "Stopped.")
    expect(inside.page.get_by_role("button", name="Send")).to_be_enabled()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        newest = console.get("/v1/requests?page_size=1").json()["requests"][0]
        if newest["outcome"] == "OUTCOME_CLIENT_GONE":
            return
    raise AssertionError(newest)


def test_a_broken_answer_is_told(inside: Tab, upstream_process: UpstreamProcess) -> None:
    upstream_process.script("cut", model="gpt-4o-mini", after_tokens=10)
    inside.goes("/console/playground")
    inside.page.get_by_label("Model or profile").select_option("mock/gpt-4o-mini")
    inside.page.get_by_label("Message", exact=True).fill("Break, please.")
    inside.page.get_by_role("button", name="Send").click()
    expect(inside.page.get_by_role("alert")).to_contain_text("cut its answer short")


# Requests.


def test_requests_tell_why_they_went_where_they_went(inside: Tab, console: Dac) -> None:
    for model in ("auto", "auto:quality", "second/small"):
        console.record(console.chat(model=model))
    console.chat(model="nope/none")
    inside.goes("/console/requests")
    table = inside.page.get_by_role("region", name="Last requests")
    expect(table).to_contain_text("best of")
    expect(table).to_contain_text("second/small was named by the request.")
    row = table.locator("tbody tr", has_text="asked auto:quality").first
    row.get_by_role("button", name="Story").click()
    story = table.locator("tr.detail")
    expect(story).to_contain_text("Why this route")
    expect(story.get_by_role("region", name="Candidates")).to_contain_text("mock/unpriced")
    expect(story.get_by_role("region", name="Charge")).to_contain_text("output")
    assert inside.violations() == []
    row.get_by_role("button", name="Story").press("Space")
    expect(story).to_have_count(0)
    table.get_by_role("button", name="Cost").click()
    costs = [float(text.strip("$")) for text in table.locator("td[data-label=Cost]").all_text_contents()]
    assert costs == sorted(costs, reverse=True) and costs[0] > costs[-1]
    inside.page.get_by_label("Outcome").select_option("refused")
    inside.page.get_by_role("button", name="Find").click()
    expect(table.locator("tbody tr")).to_have_count(1)
    expect(table).to_contain_text('There is no model "nope/none"')
    request_id = console.chat().headers["x-dac-request-id"]
    inside.page.get_by_label("Request id").fill(request_id)
    inside.page.get_by_role("button", name="Find").click()
    expect(inside.page.locator("#story")).to_contain_text(request_id)
    inside.goes("/console/requests?model=never%2Fasked")
    says(inside, "No request fits these filters.")


def test_the_overview_sums_the_last_hour(inside: Tab) -> None:
    inside.goes("/")
    tiles = inside.page.locator(".tiles")
    expect(tiles).to_contain_text("in the last hour")
    assert int(tiles.locator("dd").first.inner_text()) >= 5
    expect(inside.page.locator(".activity svg")).to_have_attribute(
        "aria-label", re.compile(r"^\d+ good and \d+ refused")
    )
    expect(inside.page.locator(".parts").first).to_contain_text("router")


def test_analytics_tell_figures_by_anything(inside: Tab) -> None:
    inside.goes("/console/analytics?window=3h&by=key")
    tiles = inside.page.locator(".tiles .tile", has_text="Requests")
    expect(tiles.locator("dd").first).not_to_have_text("0")
    expect(inside.page.get_by_role("table")).to_contain_text("Median")
    expect(inside.page.get_by_role("img", name="requests by the minute")).to_be_visible()
    inside.page.get_by_label("Window").select_option("7d")
    inside.page.get_by_label("Break down by").select_option("model")
    inside.page.get_by_role("button", name="Show").click()
    expect(inside.page.get_by_role("heading", name="By model")).to_be_visible()
    assert inside.violations() == []


def test_an_unknown_request_is_no_dead_end(inside: Tab) -> None:
    inside.expected = ["404", "400"]
    for wrong in ("01a1fd36-45cf-77a1-815e-64b401066d7e", "nonsense"):
        inside.goes(f"/console/requests/{wrong}")
        says(inside, wrong)
        expect(inside.page.get_by_role("link", name="All requests")).to_be_visible()


# Budgets.


def test_a_budget_is_set_shown_changed_and_deleted(inside: Tab, console: Dac) -> None:
    console.record(console.chat())
    inside.goes("/console/budgets")
    inside.page.get_by_label("Limit in dollars").fill("lots")
    inside.expected = ["400"]
    inside.page.get_by_role("button", name="Set budget").click()
    expect(inside.page.get_by_role("alert")).to_contain_text('"lots" is no amount of dollars')
    expect(inside.page.get_by_label("Limit in dollars")).to_have_value("lots")
    inside.page.get_by_label("Limit in dollars").fill("2.50")
    inside.page.get_by_role("button", name="Set budget").click()
    says(inside, "The budget is set.")
    row = inside.page.get_by_role("region", name="Budgets").locator("tbody tr")
    expect(row).to_contain_text("$2.50")
    label = row.locator("svg.bar").get_attribute("aria-label") or ""
    assert "of $2.50 spent" in label
    (made,) = console.get("/v1/budgets").json()["budgets"]
    url = f"{console.url}/v2/budgets/{made['budget_id']}"
    assert httpx.patch(url, headers=console.headers, json={"thresholds": {"percent": [70]}}).status_code == 200
    row.get_by_role("link", name="Change").click()
    expect(inside.page.get_by_label("Limit in dollars")).to_have_value("2.50")
    inside.page.get_by_label("Limit in dollars").fill("0.000001")
    inside.page.get_by_role("button", name="Set budget").click()
    expect(row).to_have_count(1)
    expect(row).to_contain_text("$0.000001")
    assert console.get("/v1/budgets").json()["budgets"][0]["thresholds_percent"] == [70], "the rest stays"
    assert inside.violations() == []
    inside.expected.append("429")
    inside.goes("/console/playground")
    inside.page.get_by_label("Message", exact=True).fill("Too dear?")
    inside.page.get_by_role("button", name="Send").click()
    expect(inside.page.get_by_role("alert")).to_contain_text("budget")
    inside.goes("/console/budgets")
    row.locator("summary").click()
    row.get_by_role("button", name="Delete now").click()
    says(inside, "The budget is deleted.")
    assert console.get("/v1/budgets").json()["budgets"] == []


# Trouble.


@contextlib.contextmanager
def stopped(dac: Dac, target: str) -> Iterator[None]:
    """One service's process stands still."""
    assert dac.process is not None
    children = psutil.Process(dac.process.pid).children(recursive=True)
    found = next(one for one in children if one.cmdline()[-2:] == ["--target", target])
    found.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        found.send_signal(signal.SIGCONT)


def test_a_part_that_is_down_costs_its_own_card_only(inside: Tab, console: Dac) -> None:
    with stopped(console, "audit"):
        inside.goes("/")
        says(inside, "audit does not answer.")
        says(inside, "Everything else works on.")
        expect(inside.page.locator(".parts li", has_text="audit")).to_contain_text("down")
        expect(inside.page.locator(".parts li", has_text="router")).to_contain_text("up")
        expect(inside.page.get_by_role("link", name="Set a budget")).to_be_visible()
        assert inside.violations() == []
        inside.goes("/console/playground")
        inside.page.get_by_label("Message", exact=True).fill("Do you still answer?")
        inside.page.get_by_role("button", name="Send").click()
        expect(inside.page.get_by_role("link", name="Why this route")).to_be_visible()
    inside.goes("/")
    expect(inside.page.locator(".tiles")).to_be_visible()


# What others wrote.


def test_what_others_wrote_stays_text(inside: Tab, console: Dac, upstream_process: UpstreamProcess) -> None:
    new_key(console, CANARY, "chat")
    httpx.put(
        f"{console.url}/v1/budgets",
        json={
            "level": {"kind": "KIND_KEY", "id": console.get("/v1/keys").json()["keys"][0]["key_id"]},
            "window": "WINDOW_DAY",
            "limit_nano_usd": "1000000000",
        },
        headers=console.headers,
    ).raise_for_status()
    console.chat(model=CANARY)
    body = {"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}], "thread_id": CANARY[:60]}
    named = {**console.headers, "x-request-id": CANARY}
    answer = httpx.post(f"{console.url}/v1/chat/completions", json=body, headers=named)
    story = console.record(answer)["request_id"]
    for path in (*VIEWS.values(), f"/console/requests/{story}"):
        inside.goes(path)
        expect(inside.page.locator("h1")).to_be_visible()
        assert inside.page.locator("main img, main script").count() == 0
    says(inside, CANARY)
    for path in ("/console/keys", "/console/requests", "/console/budgets"):
        inside.goes(path)
        says(inside, CANARY)
    inside.goes("/console/requests?model=%22%3E%3Cscript%3Ewindow.hit%3D1%3C/script%3E&outcome=%22%3E")
    expect(inside.page.get_by_label("Model")).to_have_value('"><script>window.hit=1</script>')
    upstream_process.script("ok", model="gpt-4o-mini", text=CANARY)
    inside.goes("/console/playground")
    inside.page.get_by_label("Model or profile").select_option("mock/gpt-4o-mini")
    inside.page.get_by_label("Message", exact=True).fill(CANARY)
    inside.page.get_by_role("button", name="Send").click()
    expect(inside.page.get_by_role("link", name="Why this route")).to_be_visible()
    assert inside.page.locator(".turn p").all_text_contents()[:2] == [CANARY, CANARY]
    assert inside.page.locator("#talk img, #talk script").count() == 0
    assert inside.page.evaluate("window.hit") is None


# For everybody.


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_view_is_accessible(browser: Browser, console: Dac, session: str, dark: bool) -> None:
    # Colours are all that the dark theme changes.
    rules = ["color-contrast"] if dark else None
    with tab(browser, console.url, dark=dark) as opened:
        opened.goes("/")
        findings = opened.violations(rules)
        opened.has_session(session)
        for name, path in VIEWS.items():
            opened.goes(path)
            expect(opened.page.get_by_role("link", name=name, exact=True)).to_have_attribute("aria-current", "page")
            findings += opened.violations(rules)
        assert findings == []


def test_nothing_is_wider_than_a_phone(browser: Browser, console: Dac, session: str) -> None:
    with tab(browser, console.url, size=NARROW) as opened:
        opened.goes("/")
        assert opened.overflow() == 0
        opened.has_session(session)
        for path in VIEWS.values():
            opened.goes(path)
            assert opened.overflow() <= 0, path
        assert opened.violations() == []
        opened.goes("/console/requests")
        opened.page.locator("[data-expand]").first.click()
        expect(opened.page.locator("tr.detail")).to_be_visible()
        assert opened.overflow() <= 0


PHONE = (320, 700)
"""The narrowest that WCAG's reflow asks for."""


def test_budgets_and_figures_of_teams_have_names_and_fit(browser: Browser, console: Dac, session: str) -> None:
    client = httpx.Client(base_url=console.url, headers=console.headers)
    team = client.post("/v1/teams", json={"name": "Research " + "W" * 60}).json()["team"]
    made = client.post("/v1/keys", json={"name": "researcher", "team_id": team["team_id"]}).json()
    body = {"level": {"kind": "KIND_TEAM", "id": team["team_id"]}, "window": "WINDOW_DAY"}
    limit = client.put("/v1/budgets", json={**body, "limit_nano_usd": "123456789012345678"}).json()["budget"]
    asked = {"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"authorization": f"Bearer {made['token']}"}
    console.record(httpx.post(f"{console.url}/v1/chat/completions", json=asked, headers=headers))
    with tab(browser, console.url, size=PHONE) as opened:
        opened.has_session(session)
        for path in ("/", "/console/budgets", "/console/analytics?by=team"):
            opened.goes(path)
            expect(opened.page.locator("main")).to_contain_text(team["name"])
            expect(opened.page.locator("main")).not_to_contain_text(team["team_id"])
            assert opened.overflow() <= 0, path
        opened.goes("/docs")
        assert opened.overflow() <= 0 and opened.unexpected() == []
    for path in (f"budgets/{limit['budget_id']}", f"keys/{made['key']['key_id']}", f"teams/{team['team_id']}"):
        assert client.delete(f"/v1/{path}").status_code == 200, path


def test_the_theme_follows_the_system_until_it_is_chosen(browser: Browser, console: Dac) -> None:
    with tab(browser, console.url, dark=True) as opened:
        opened.goes("/")
        back = "getComputedStyle(document.body.parentNode).backgroundColor"
        dark = opened.page.evaluate(back)
        opened.page.get_by_role("button", name="Theme").click()
        light = opened.page.evaluate(back)
        assert dark != light
        opened.page.reload()
        assert opened.page.evaluate(back) == light


def test_a_keyboard_is_enough(inside: Tab) -> None:
    inside.goes("/console/models")
    inside.page.keyboard.press("Tab")
    expect(inside.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    inside.page.keyboard.press("Enter")
    expect(inside.page.locator("#main")).to_be_focused()
    inside.page.get_by_role("searchbox").fill("sonnet")
    shown = inside.page.locator("#models tbody tr:visible")
    expect(shown).to_have_count(1)
    expect(shown).to_contain_text("claude/sonnet")


def test_without_a_script_the_page_still_tells(browser: Browser, console: Dac) -> None:
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(console.url)
        page.get_by_label("API key").fill(console.key)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Requests", exact=True).click()
        page.get_by_role("link", name="Story").first.click()
        expect(page.get_by_role("heading", name="Why this route")).to_be_visible()
        page.get_by_role("link", name="Playground", exact=True).click()
        expect(page.get_by_text("The playground needs a script.")).to_be_visible()
    finally:
        context.close()
