"""The console at `/` in a real browser in front of a real DAC, one process per service: empty, full, and in trouble."""

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
from tests.edge.conftest import Dac, UpstreamProcess, make_dac
from tests.edge.console_desk import (  # noqa: F401
    CANARY,
    VIEWS,
    WATCH,
    browser,
    console,
    csrf_of,
    desk,
    form,
    inside,
    new_key,
    revoke,
    says,
    session,
)

DAC_FLAGS = ("--split",)
"""One of its processes is stopped later on."""

# Signed out.


def test_people_get_the_page_and_programs_get_json(console: Dac) -> None:
    page = httpx.get(console.url, headers={"accept": "text/html,*/*"})
    assert page.status_code == 200 and "Sign in to DAC" in page.text and "make run" in page.text
    said = httpx.get(console.url)
    assert said.json()["name"] == "DAC" and said.json()["docs"] == "/docs"
    assert httpx.get(f"{console.url}/docs").status_code == 200


def test_every_page_forbids_what_is_not_its_own(console: Dac) -> None:
    for path in ("/", "/console/keys", "/console/sign-in", "/console/nothing"):
        answer = httpx.get(console.url + path, headers={"accept": "text/html"})
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "base-uri 'none'" in policy and "form-action 'self'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<script(?! src=\"/console/static/)|<style|\sstyle=|\son\w+=", answer.text)
        assert not re.search(r"(?:src|href|action)=\"(?!/|#)", answer.text)


def test_the_page_is_small(console: Dac) -> None:
    files = [httpx.get(f"{console.url}/console/static/{name}") for name in ("console.css", "console.js", "icon.svg")]
    assert all(one.status_code == 200 for one in files)
    assert sum(len(one.content) for one in files) < 35_000
    assert httpx.get(f"{console.url}/console/static/..%2fconsole.py").status_code == 404


def test_a_wrong_key_is_refused_with_a_sentence(desk: Tab, console: Dac) -> None:
    desk.expected = ["401"]
    for wrong, why in (("nonsense", "This is not a DAC key"), (console.key[:-1] + "_", "not a DAC key")):
        desk.signs_in(wrong)
        expect(desk.page.get_by_role("alert")).to_contain_text(why)
    assert desk.page.context.cookies() == []
    assert desk.violations() == []


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


# Sessions and forms.


def test_the_cookie_is_kept_from_scripts_and_other_sites(console: Dac) -> None:
    def signed_in(**headers: str) -> str:
        answer = httpx.post(
            f"{console.url}/console/sign-in", data={"key": console.key}, headers={"origin": console.url, **headers}
        )
        assert answer.status_code == 303
        return answer.headers["set-cookie"]

    cookie = signed_in()
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower() and "Max-Age=43200" in cookie
    assert console.key not in cookie and "Secure" not in cookie
    assert "Secure" in signed_in(**{"x-forwarded-proto": "https"})
    value = cookie.split(";")[0]
    assert httpx.get(f"{console.url}/v1/keys", headers={"cookie": value}).status_code == 401


def test_forms_of_other_pages_are_refused(form: httpx.Client, console: Dac) -> None:
    token = csrf_of(form)
    good = {"name": "from-elsewhere", "scope": "chat", "csrf": token}
    before = console.get("/v1/keys").json()["keys"]
    for fields, headers in (
        ({**good, "csrf": ""}, {}),
        ({**good, "csrf": "0" * 64}, {}),
        (good, {"origin": "https://evil.example"}),
        (good, {"origin": "null"}),
        (good, {"sec-fetch-site": "cross-site"}),
    ):
        answer = form.post("/console/keys", data=fields, headers=headers)
        assert answer.status_code == 403 and "Nothing was changed" in answer.text
    no_origin = httpx.post(f"{console.url}/console/keys", data=good, headers={"cookie": cookie_of(form)})
    assert no_origin.status_code == 403
    for path in ("/console/keys/revoke", "/console/budgets", "/console/budgets/delete"):
        assert form.post(path, data={"key_id": before[0]["key_id"]}).status_code == 403
    assert console.get("/v1/keys").json()["keys"] == before
    foreign = {"origin": "https://evil.example"}
    assert form.post("/console/sign-in", data={"key": console.key}, headers=foreign).status_code == 403
    assert form.post("/console/sign-out", headers=foreign).status_code == 403


def test_the_playgrounds_path_is_no_way_around(form: httpx.Client, console: Dac) -> None:
    body = {"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
    token = csrf_of(form)
    assert form.post("/console/chat", json=body).status_code == 403
    foreign = {"x-csrf-token": token, "origin": "https://evil.example"}
    assert form.post("/console/chat", json=body, headers=foreign).status_code == 403
    bearer = {**console.headers, "origin": console.url, "x-csrf-token": token}
    assert httpx.post(f"{console.url}/console/chat", json=body, headers=bearer).status_code == 401
    assert form.post("/console/chat", json=body, headers={"x-csrf-token": token}).status_code == 200


def cookie_of(client: httpx.Client) -> str:
    """The session as a header."""
    return f"dac_console={client.cookies['dac_console']}"


def test_big_and_broken_forms_are_refused(form: httpx.Client) -> None:
    assert form.post("/console/keys", data={"name": "x" * 40_000}).status_code in (400, 413)
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert form.post("/console/keys", content=b"\xff\xfe=1", headers=kind).status_code in (400, 403)
    many = "&".join(f"a{number}=1" for number in range(200))
    assert form.post("/console/keys", content=many, headers=kind).status_code == 400
    token = csrf_of(form)
    for days in ("²", "9" * 5000, "0"):
        odd = {"name": "odd", "scope": "chat", "days": days, "csrf": token}
        assert form.post("/console/keys", data=odd).status_code == 400
    for outcome in ("²", "99999999999", "-1", "9" * 5000):
        assert form.get("/console/requests", params={"outcome": outcome}).status_code == 200


def test_signing_out_forgets_the_session(inside: Tab) -> None:
    inside.goes("/console/health")
    inside.page.get_by_role("button", name="Sign out").click()
    says(inside, "You are signed out.")
    assert inside.page.context.cookies() == []
    inside.goes("/console/keys")
    expect(inside.page.get_by_label("API key")).to_be_visible()


def test_signing_in_leads_back_to_where_one_was(desk: Tab, console: Dac) -> None:
    desk.goes("/console/models")
    desk.page.get_by_label("API key").fill(console.key)
    desk.page.get_by_role("button", name="Sign in").click()
    expect(desk.page.get_by_role("heading", name="Models", level=1)).to_be_visible()


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


# Keys.


def test_a_key_is_shown_once_works_and_is_revoked(inside: Tab, console: Dac) -> None:
    inside.goes("/console/keys")
    inside.page.get_by_label("Name").fill("made-here")
    inside.page.get_by_role("textbox", name="Models").fill("mock/*, second/small")
    inside.page.get_by_label("Expires").select_option("in 30 days")
    inside.page.get_by_role("button", name="Create key").click()
    token = inside.page.locator("#new-token").inner_text()
    assert token.startswith("dac_live_")
    assert inside.violations() == []

    def chat(model: str) -> int:
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        headers = {"authorization": f"Bearer {token}"}
        return httpx.post(f"{console.url}/v1/chat/completions", json=body, headers=headers).status_code

    assert chat("mock/gpt-4o-mini") == 200 and chat("claude/sonnet") != 200
    inside.page.reload()
    expect(inside.page.locator("#new-token")).to_have_count(0)
    assert token not in inside.page.content()
    row = inside.page.locator("tr", has_text="made-here")
    expect(row).to_have_count(1)
    row.locator("summary").click()
    expect(row).to_contain_text("cannot be undone")
    # Nothing cuts the question off.
    button = row.get_by_role("button", name="Revoke now").bounding_box()
    assert button is not None
    middle = [button["x"] + button["width"] / 2, button["y"] + button["height"] / 2]
    assert inside.page.evaluate("([x, y]) => document.elementFromPoint(x, y)?.textContent", middle) == "Revoke now"
    row.get_by_role("button", name="Revoke now").click()
    says(inside, "The key is revoked")
    expect(row).to_contain_text("revoked")
    end = time.monotonic() + 3
    while chat("mock/gpt-4o-mini") != 401:
        assert time.monotonic() < end
    assert inside.page.url.endswith("/console/keys")


def test_a_key_that_cannot_be_made_says_why(form: httpx.Client) -> None:
    token = csrf_of(form)
    answer = form.post("/console/keys", data={"csrf": token, "name": "typed name", "scope": "operator"})
    assert answer.status_code == 403 and "cannot give the scope" in answer.text and 'value="typed name"' in answer.text
    assert form.post("/console/keys", data={"csrf": token, "name": "x"}).status_code == 400
    wrong = {"csrf": token, "name": "x", "scope": "chat", "days": "soon"}
    assert form.post("/console/keys", data=wrong).status_code == 400


def test_a_key_revoked_meanwhile_leads_back_to_the_door(desk: Tab, console: Dac) -> None:
    desk.expected = ["401"]
    key_id, token = new_key(console, "short-lived", "chat", "read")
    desk.signs_in(token)
    desk.goes("/console/playground")
    revoke(console, key_id)
    desk.page.get_by_label("Message", exact=True).fill("Still there?")
    desk.page.get_by_role("button", name="Send").click()
    expect(desk.page.get_by_role("alert")).to_contain_text("This API key was revoked.")
    expect(desk.page.get_by_role("link", name="Sign in")).to_be_visible()
    desk.goes("/console/requests")
    expect(desk.page.get_by_role("alert")).to_contain_text("This API key was revoked.")
    expect(desk.page.get_by_label("API key")).to_be_visible()
    assert desk.page.context.cookies() == []


def test_a_key_that_may_only_read_sees_what_it_lacks(desk: Tab, console: Dac) -> None:
    desk.signs_in(new_key(console, "reader", "read")[1])
    desk.goes("/console/keys")
    says(desk, "Your key does not open this.")
    desk.goes("/console/playground")
    says(desk, 'Chatting needs a key with scope "chat".')
    desk.goes("/console/budgets")
    expect(desk.page.get_by_role("button", name="Set budget")).to_have_count(0)
    assert desk.violations() == []


def test_the_operators_token_signs_in(desk: Tab, console: Dac) -> None:
    desk.signs_in(console.operator_headers["authorization"].removeprefix("Bearer "))
    says(desk, "operator")
    desk.goes("/console/keys")
    expect(desk.page.get_by_label("operator")).to_be_visible()


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


def test_with_auth_off_nobody_signs_in(browser: Browser, tmp_path: object, upstream_process: UpstreamProcess) -> None:
    open_dac = make_dac(tmp_path, upstream_process)  # type: ignore[arg-type]
    open_dac.env["DAC_AUTH"] = "off"
    open_dac.start()
    try:
        with tab(browser, open_dac.url) as opened:
            opened.goes("/console/playground")
            opened.page.get_by_label("Message", exact=True).fill("Hello")
            opened.page.get_by_role("button", name="Send").click()
            expect(opened.page.get_by_role("link", name="Why this route")).to_be_visible()
            opened.goes("/console/keys")
            says(opened, "Your key does not open this.")
            opened.page.get_by_role("link", name="Sign in with a key").click()
            opened.page.get_by_label("API key").fill(open_dac.key)
            opened.page.get_by_role("button", name="Sign in").click()
            opened.goes("/console/keys")
            expect(opened.page.get_by_role("button", name="Create key")).to_be_visible()
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
        foreign = {"origin": "https://evil.example"}
        for path in ("/console/chat", "/v1/chat/completions"):
            assert httpx.post(open_dac.url + path, json=body, headers=foreign).status_code == 403
        # A name of somebody else's that leads here: the browser takes both for one site.
        with httpx.Client(base_url=open_dac.url, headers={"accept": "text/html"}) as client:
            token = csrf_of(client)
            rebound = {"host": "evil.example", "origin": "http://evil.example", "authorization": "Bearer x"}
            shown = client.get("/console/playground", headers=rebound)
            assert token not in shown.text and "Sign in to DAC" in shown.text
            sent = client.post("/console/chat", json=body, headers={**rebound, "x-csrf-token": token})
            assert sent.status_code == 401
    finally:
        assert open_dac.stop() == 0
