"""Who gets into the console and with what: pages nobody signed in for, sessions, forms, keys, and no sign-in at all."""

# Fixtures are imported by name.
# ruff: noqa: F811

import re
import time

import httpx
from playwright.sync_api import Browser, expect

from tests.edge.browser import Tab, tab
from tests.edge.conftest import Dac, UpstreamProcess, make_dac
from tests.edge.console_desk import (  # noqa: F401
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
