"""The console's audit page in a real browser: changes found, told and taken away, and the log that proves them."""

# Fixtures are imported by name.
# ruff: noqa: F811

import csv
import io
import json
import pathlib

import httpx
import pytest
from playwright.sync_api import expect

from mesh.tlog.notes import VerifierKey
from mesh.tlog.proofs import Proof
from tests.edge.browser import Tab
from tests.edge.conftest import Dac
from tests.edge.console_desk import browser, console, desk, form, inside, new_key, says, session  # noqa: F401

HTML = {"accept": "text/html"}


@pytest.fixture(scope="module")
def changed(console: Dac) -> str:
    """A key that was made, renamed and revoked; its id."""
    key_id, _ = new_key(console, "=SUM(A1)", "chat")
    answer = httpx.patch(f"{console.url}/v1/keys/{key_id}", json={"name": "<b>laptop</b>"}, headers=console.headers)
    assert answer.status_code == 200, answer.text
    assert httpx.delete(f"{console.url}/v1/keys/{key_id}", headers=console.headers).status_code == 200
    newest = wait_for_revocation(console, key_id)
    wait = {"wait_s": 10}
    httpx.get(f"{console.url}/v1/audit/proofs/{newest}", params=wait, headers=console.headers).raise_for_status()
    return key_id


def wait_for_revocation(console: Dac, key_id: str) -> str:
    """The record of the revocation, once audit has it."""
    for _ in range(200):
        found = console.get(f"/v1/changes?target=key:{key_id}").json().get("changes", [])
        if len(found) == 3:
            return str(found[0]["record_id"])
    raise AssertionError("the changes did not arrive")


def test_changes_are_found_and_told(inside: Tab, changed: str) -> None:
    inside.goes("/console/audit")
    inside.page.get_by_label("Action").fill("key.update")
    inside.page.get_by_label("What").fill(f"key:{changed}")
    inside.page.get_by_label("What").press("Enter")
    row = inside.page.get_by_role("region", name="Changes").locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row.locator("del")).to_contain_text("=SUM(A1)")
    expect(row.locator("ins")).to_contain_text("<b>laptop</b>")
    expect(row.locator("time")).not_to_contain_text("UTC")
    expect(row.locator("small").first).to_contain_text("UTC")
    assert inside.violations() == []
    inside.page.get_by_role("link", name="Clear").click()
    assert inside.page.get_by_role("region", name="Changes").locator("tbody tr").count() >= 3
    inside.goes("/console/audit?actor=nobody")
    says(inside, "No change fits these filters.")
    assert inside.violations() == []


def test_what_is_listed_is_taken_away(inside: Tab, changed: str, tmp_path: pathlib.Path) -> None:
    inside.goes(f"/console/audit?target=key:{changed}")
    with inside.page.expect_download() as waiting:
        inside.page.get_by_role("link", name="Download CSV").click()
    assert waiting.value.suggested_filename == "dac-changes.csv"
    text = pathlib.Path(waiting.value.path()).read_text()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["action"] for row in rows] == ["key.revoke", "key.update", "key.create"]
    with inside.page.expect_download() as waiting:
        inside.page.get_by_role("link", name="Download JSON lines").click()
    lines = [json.loads(line) for line in pathlib.Path(waiting.value.path()).read_text().splitlines()]
    assert {line["target"] for line in lines} == {f"key:{changed}"} and len(lines) == 3


def test_a_receipt_proves_its_entry(inside: Tab, console: Dac, changed: str) -> None:
    inside.goes(f"/console/audit?target=key:{changed}&action=key.create")
    link = inside.page.get_by_role("link", name="Download the receipt of key.create")
    with inside.page.expect_download() as waiting:
        link.press("Enter")
    record_id = waiting.value.suggested_filename.removesuffix(".tlog-proof")
    said = console.get(f"/v1/audit/proofs/{record_id}").json()
    key = VerifierKey.parse(console.get("/v1/audit/checkpoint").json()["verifier_key"])
    proof = Proof.parse(pathlib.Path(waiting.value.path()).read_text())
    proof.check(said["leaf"].encode(), key)


def test_the_state_of_the_log_is_shown_to_be_kept(inside: Tab, console: Dac, changed: str) -> None:
    inside.goes("/console/audit")
    told = console.get("/v1/audit/checkpoint").json()
    expect(inside.page.locator("#verifier-key")).to_have_text(told["verifier_key"])
    expect(inside.page.locator("#checkpoint")).to_contain_text(told["checkpoint"].split("\n")[0])
    expect(inside.page.locator("#log")).to_contain_text("entries of all organisations")
    inside.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    inside.page.locator("#log .copy").nth(1).click()
    assert inside.page.evaluate("navigator.clipboard.readText()") == told["verifier_key"]


def test_requests_are_taken_away_with_the_lists_filters(form: httpx.Client, console: Dac, changed: str) -> None:
    good = console.chat(model="mock/gpt-4o-mini")
    request_id = console.record(good)["request_id"]
    text = form.get("/console/audit/requests.csv?outcome=1&model=mock/gpt-4o-mini").text
    assert request_id in [row["request_id"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    assert request_id not in form.get("/console/audit/requests.jsonl?outcome=4").text
    assert f"/console/audit/receipts/{request_id}" in form.get(f"/console/requests/{request_id}").text


def test_files_need_the_right_to_them(form: httpx.Client, console: Dac, changed: str) -> None:
    paths = ("/console/audit/changes.csv", "/console/audit/requests.jsonl", f"/console/audit/receipts/{changed}")
    for path in paths:
        answer = httpx.get(console.url + path, headers=HTML)
        assert "Sign in to DAC" in answer.text and "content-disposition" not in answer.headers, path
    _, token = new_key(console, "chats-only", "chat")
    headers = {"origin": console.url}
    cookie = httpx.post(f"{console.url}/console/sign-in", data={"key": token}, headers=headers).headers["set-cookie"]
    for path in paths:
        answer = httpx.get(console.url + path, headers={**HTML, "cookie": cookie.split(";")[0]})
        assert answer.status_code == 403 and "does not open this" in answer.text, path
    assert form.get("/console/audit/changes.xml").status_code == 400
    assert form.get(f"/console/audit/receipts/{changed}").status_code == 404
    assert form.get("/console/audit/receipts/%22%0d%0aset-cookie").status_code == 404
    assert form.get("/console/audit?page=nonsense").status_code == 200
