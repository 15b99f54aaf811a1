"""Crossed thresholds are told: once a window, signed, by mail, at least once, and by one replica at a time."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import hashlib
import hmac
import ipaddress
import json
import logging
import pathlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dac.budget.v1 import budget_pb2
from mesh.config import Secret
from mesh.ids import uuid7
from services.budget.alerts import delivery as alert_delivery
from services.budget.alerts.alerts import Alert
from services.budget.alerts.channels import Untold, Webhook
from services.budget.config import BudgetConfig
from services.budget.ledger.rows import Level, Limit
from services.budget.ledger.windows import Window
from services.budget.server import BudgetService
from tests.integration.budget.receivers import Hook, MailServer
from tests.integration.budget.test_balances import Company
from tests.integration.budget.world import CENT, USD, MakeBudget

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
TEAM = ["ops@example.com", "boss@example.com"]


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    made = Hook()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def mails() -> AsyncIterator[MailServer]:
    made = MailServer()
    await made.start()
    yield made
    await made.stop()


def webhook(hook: Hook) -> dict[str, Any]:
    return {
        "alert_webhook_url": hook.url,
        "alert_webhook_secret": Secret(SECRET),
        "alert_webhook_allow_private_address": True,
        **BY_HAND,
    }


def mail(mails: MailServer) -> dict[str, Any]:
    tls = {"smtp_host": "127.0.0.1", "smtp_port": mails.port, "smtp_from": "dac@example.com", "smtp_tls": "none"}
    return {**tls, **BY_HAND}


BY_HAND = {"alert_interval_s": 3600.0}
"""The job runs once at the start, and then when a test says so."""


async def crossed(budget: BudgetService, org_id: str, **fields: Any) -> Company:
    """An organisation that has spent 60 cents of a dollar."""
    company = Company(budget, org_id)
    await company.limit("org", USD, **fields)
    await company.spend(6)
    return company


async def again(budget: BudgetService, org_id: str) -> int:
    """Delivers what waits, as if every pause were over."""
    async with budget._database.transaction(org_id) as connection:
        due = "UPDATE alerts SET next_try_at = now() WHERE org_id = $1 AND told_at IS NULL AND next_try_at < 'infinity'"
        await connection.execute(due, org_id)
    return await budget.alerts.tell()


async def row_of(budget: BudgetService, org_id: str) -> Any:
    async with budget._database.transaction(org_id) as connection:
        (row,) = await connection.fetch("SELECT *, next_try_at - now() AS pause FROM alerts WHERE org_id = $1", org_id)
    return row


def verified(headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """The event, checked as the specification tells receivers to."""
    assert headers["content-type"] == "application/json"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()
    version, _, given = headers["webhook-signature"].partition(",")
    assert version == "v1" and hmac.compare_digest(base64.b64decode(given), expected)
    assert abs(int(headers["webhook-timestamp"]) - dt.datetime.now(dt.UTC).timestamp()) < 60
    event: dict[str, Any] = json.loads(body)
    assert event["id"] == headers["webhook-id"]
    return event


async def test_a_threshold_is_told_once_and_signed(make_budget: MakeBudget, hook: Hook, org_id: str) -> None:
    budget = await make_budget(**webhook(hook))
    company = await crossed(budget, org_id)
    assert await again(budget, org_id) == 1 and await again(budget, org_id) == 0
    ((headers, body),) = hook.got
    event = verified(headers, body)
    made = await company.only()
    assert (event["event"], event["org_id"], event["budget"]["budget_id"]) == (
        "budget.threshold",
        org_id,
        made.budget_id,
    )
    assert event["level"] == {"kind": "KIND_ORG", "id": org_id}
    assert (event["threshold_percent"], event["limit_nano_usd"]) == (50, str(USD))
    assert event["spent_nano_usd"] == str(50 * CENT), "what was spent when it was crossed"
    assert event["resets_at"].endswith("-01T00:00:00Z") and event["window_start"] < event["resets_at"]
    assert list(made.reached_percent) == [50]
    await company.spend(4)
    assert await again(budget, org_id) == 3
    found = sorted(verified(*one)["threshold_percent"] for one in hook.got)
    assert found == [50, 80, 95, 100] and len({headers["webhook-id"] for headers, _ in hook.got}) == 4


async def test_a_webhook_that_misbehaves_is_told_until_it_takes_it(
    make_budget: MakeBudget, hook: Hook, org_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    budget = await make_budget(**webhook(hook), alert_retry_first_s=10.0, alert_retry_last_s=45.0)
    await crossed(budget, org_id)
    stranger = Hook()
    await stranger.start()
    hook.elsewhere = stranger.url
    hook.plays = [500, "cut", "redirect", 410]
    pauses = []
    for _ in range(4):
        assert await again(budget, org_id) == 0
        pauses.append(round((await row_of(budget, org_id))["pause"].total_seconds()))
    assert pauses == [10, 20, 40, 45]
    assert await budget.alerts.tell() == 0, "nothing is tried before its pause is over"
    assert await again(budget, org_id) == 1
    assert len(hook.got) == 5 and len({headers["webhook-id"] for headers, _ in hook.got}) == 1
    assert stranger.got == []
    assert (await row_of(budget, org_id))["told_at"] is not None
    said = [one.getMessage() for one in caplog.records if one.name == "services.budget.alerts.delivery"]
    assert sum("budget.threshold" in one for one in said) == 1 and sum(", try " in one for one in said) == 4
    assert SECRET not in caplog.text
    await stranger.stop()


async def test_a_webhook_that_is_not_there(make_budget: MakeBudget, hook: Hook, org_id: str) -> None:
    budget = await make_budget(**webhook(hook))
    await crossed(budget, org_id)
    await hook.stop()
    assert await again(budget, org_id) == 0
    assert (await row_of(budget, org_id))["tries"] == 1


async def test_one_way_that_fails_is_tried_alone(
    make_budget: MakeBudget, hook: Hook, mails: MailServer, org_id: str
) -> None:
    budget = await make_budget(**{**webhook(hook), **mail(mails)})
    await crossed(budget, org_id, alert_emails=TEAM)
    mails.plays = ["refuse", "busy", "cut"]
    for _ in range(3):
        assert await again(budget, org_id) == 0
        row = await row_of(budget, org_id)
        assert row["told_at"] is None and row["webhook_told_at"] is not None and row["mail_told_at"] is None
    assert await again(budget, org_id) == 1
    assert len(hook.got) == 1 and len(mails.mails) == 1 and mails.connections == 4
    hook.plays, mails.plays = [503], []
    await Company(budget, org_id).spend(2)
    assert await again(budget, org_id) == 0 and await again(budget, org_id) == 1
    assert len(hook.got) == 3 and len(mails.mails) == 2


async def test_a_mail_says_what_happened(make_budget: MakeBudget, mails: MailServer, org_id: str) -> None:
    budget = await make_budget(**mail(mails))
    company = await crossed(budget, org_id, alert_emails=TEAM, time_zone="Europe/Berlin")
    assert await again(budget, org_id) == 1
    ((recipients, message),) = mails.mails
    assert recipients == TEAM and message["To"] == ", ".join(TEAM) and message["From"] == "dac@example.com"
    assert f"50 % of a budget of org {org_id}" in message["Subject"]
    row = await row_of(budget, org_id)
    assert message["Message-ID"] == f"<{row['alert_id']}@example.com>"
    text = message.get_content()
    assert "$0.5 of $1 were spent" in text and "Europe/Berlin" in text and "hard budget" in text
    assert (await company.only()).budget_id in text


async def test_addresses_that_would_end_a_header_are_written_to_nobody(
    make_budget: MakeBudget, mails: MailServer, org_id: str
) -> None:
    budget = await make_budget(**mail(mails))
    await crossed(budget, org_id, alert_emails=TEAM)
    hostile = ["a@b.example\r\nBcc: all@example.com", "x@y.example\nSubject: z", "a@b.example, c@d.example", TEAM[0]]
    async with budget._database.transaction(org_id) as connection:
        await connection.execute("UPDATE budgets SET alert_emails = $2 WHERE org_id = $1", org_id, hostile)
    assert await again(budget, org_id) == 1
    ((recipients, message),) = mails.mails
    assert recipients == [TEAM[0]] and message["Bcc"] is None and message["To"] == TEAM[0]


def self_signed(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """A certificate of 127.0.0.1 that nobody vouches for, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_file.write_bytes(key.private_bytes(*form))
    return certificate_file, key_file


async def test_mail_goes_encrypted_and_only_to_a_server_that_proves_itself(
    make_budget: MakeBudget, org_id: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = MailServer(tls=context)
    await server.start()
    login = {"smtp_username": "dac", "smtp_password": Secret("pass word")}
    budget = await make_budget(**{**mail(server), **login, "smtp_tls": "starttls"})
    await crossed(budget, org_id, alert_emails=TEAM)
    assert await again(budget, org_id) == 0 and not server.mails and not server.logins, "nobody vouches for it"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert await again(budget, org_id) == 1 and len(server.mails) == 1
    assert server.logins == [b"AUTH PLAIN " + base64.b64encode(b"\0dac\0pass word")]
    await server.stop()


async def test_replicas_do_not_tell_the_same_at_once(make_budget: MakeBudget, hook: Hook, org_id: str) -> None:
    replicas = [await make_budget(**webhook(hook)) for _ in range(3)]
    await crossed(replicas[0], org_id)
    hook.plays = ["slow"]
    first = asyncio.create_task(again(replicas[0], org_id))
    await asyncio.wait_for(hook.arrived.wait(), 30)
    assert [await replica.alerts.tell() for replica in replicas[1:]] == [0, 0]
    hook.release.set()
    assert await first == 1 and len(hook.got) == 1


async def test_a_replica_that_died_while_telling_leaves_a_lease_that_ends(
    make_budget: MakeBudget, hook: Hook, org_id: str
) -> None:
    replicas = [await make_budget(**webhook(hook)) for _ in range(2)]
    await crossed(replicas[0], org_id)
    hook.plays = ["slow"]
    dying = asyncio.create_task(again(replicas[0], org_id))
    await asyncio.wait_for(hook.arrived.wait(), 30)
    dying.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await dying
    row = await row_of(replicas[1], org_id)
    assert row["told_at"] is None and row["pause"] <= alert_delivery.LEASE
    assert await replicas[1].alerts.tell() == 0
    assert await again(replicas[1], org_id) == 1
    assert len(hook.got) == 2, "at least once: nobody knows whether the first was taken"


async def test_who_was_too_slow_does_not_shorten_the_lease_of_the_next(make_budget: MakeBudget, org_id: str) -> None:
    budget = await make_budget(**BY_HAND)
    await crossed(budget, org_id)
    due = "UPDATE alerts SET next_try_at = now() WHERE org_id = $1"
    for tries in (1, 2):  # The second takes it over when the lease of the first has ended.
        async with budget._database.transaction(org_id) as connection:
            await connection.execute(due, org_id)
        (claimed,) = await budget.alerts._claim(org_id)
        assert claimed["tries"] == tries
    key = (org_id, claimed["budget_id"], claimed["window_start"], claimed["threshold_percent"])
    async with budget._database.transaction(org_id) as connection:
        soon = dt.timedelta(seconds=1)
        await connection.execute(alert_delivery.NOTE, *key, True, False, False, 1, soon)
    row = await row_of(budget, org_id)
    assert row["pause"] > dt.timedelta(seconds=60), "the second still holds it"
    assert row["webhook_told_at"] is not None, "what the first has told is told"


async def test_without_a_way_to_tell_it_is_kept_and_said_in_the_log(
    make_budget: MakeBudget, org_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    budget = await make_budget(**BY_HAND)
    with caplog.at_level(logging.WARNING, logger="services.budget.alerts.delivery"):
        company = await crossed(budget, org_id, alert_emails=TEAM)
        assert await again(budget, org_id) == 1 and await again(budget, org_id) == 0
    (line,) = [one.getMessage() for one in caplog.records if "budget.threshold" in one.getMessage()]
    assert org_id in line and "$0.5 of $1" in line and "50 %" in line
    assert list((await company.only()).reached_percent) == [50]


async def test_a_budget_that_is_deleted_takes_its_alerts_along(
    make_budget: MakeBudget, hook: Hook, org_id: str
) -> None:
    budget = await make_budget(**webhook(hook))
    company = await crossed(budget, org_id)
    async with budget._database.transaction(org_id) as connection:
        orphan = """INSERT INTO alerts (org_id, budget_id, window_start, threshold_percent, spent_nano_usd,
          limit_nano_usd) VALUES ($1, $2, 'epoch', 50, 1, 1)"""
        await connection.execute(orphan, org_id, uuid7())
    with company.caller("admin"):
        request = budget_pb2.DeleteBudgetRequest(budget_id=(await company.only()).budget_id)
        await budget.budget.DeleteBudget(request, None)
    await again(budget, org_id)
    async with budget._database.transaction(org_id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM alerts WHERE org_id = $1", org_id) == 0
    assert hook.got == []


async def test_what_nobody_takes_is_given_up(make_budget: MakeBudget, hook: Hook, org_id: str) -> None:
    budget = await make_budget(**webhook(hook), alert_give_up_after_s=100.0)
    await crossed(budget, org_id)
    hook.plays = [500] * 9
    await again(budget, org_id)
    async with budget._database.transaction(org_id) as connection:
        await connection.execute("UPDATE alerts SET at = now() - interval '99 s' WHERE org_id = $1", org_id)
    await again(budget, org_id)
    assert await again(budget, org_id) == 0 and len(hook.got) == 2


async def test_many_alerts_are_all_told(make_budget: MakeBudget, hook: Hook, org_id: str) -> None:
    budget = await make_budget(**webhook(hook))
    company = Company(budget, org_id)
    percent = list(range(1, 11))
    for level in ("org", "team", "user"):
        await company.limit(level, USD, thresholds=budget_pb2.Thresholds(percent=percent))
    await company.spend(1)
    assert await again(budget, org_id) == 30
    assert len({headers["webhook-id"] for headers, _ in hook.got}) == 30 == len(hook.got)


async def test_a_name_that_leads_to_a_private_address_is_not_told(hook: Hook) -> None:
    url = hook.url.replace("127.0.0.1", "localhost")
    channel = Webhook(url, Secret(SECRET), allow_private_address=False, now=lambda: 1.0)
    with pytest.raises(Untold):
        await channel.tell(_any_alert())
    await channel.close()
    assert hook.got == []
    allowed = Webhook(url, Secret(SECRET), allow_private_address=True, now=lambda: 1.0)
    await allowed.tell(_any_alert())
    await allowed.close()
    assert len(hook.got) == 1


def _any_alert() -> Any:
    at = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
    return Alert(uuid7(), Limit(uuid7(), Level(uuid7(), 1, uuid7()), Window.DAY, 5), at, 50, 3, 5, at, None)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"alert_webhook_url": "http://example.com/x"}, "https"),
        ({"alert_webhook_url": "https://127.0.0.1/x"}, "private"),
        ({"alert_webhook_url": "https://[::1]/x"}, "private"),
        ({"alert_webhook_url": "https://[::ffff:169.254.169.254]/x"}, "private"),
        ({"alert_webhook_url": "https://user:pass@example.com/"}, "user name"),
        ({"alert_webhook_url": "https://example.com/", "alert_webhook_secret": None}, "needs alert_webhook_secret"),
        ({"alert_webhook_url": "https://example.com/", "alert_webhook_secret": Secret("short")}, "at least 24"),
        ({"alert_webhook_url": "https://example.com/", "alert_webhook_secret": Secret("whsec_!")}, "Base64"),
        ({"smtp_host": "mail.example.com"}, "smtp_from"),
        ({"smtp_host": "mail.example.com", "smtp_from": "a@b.c\r\nBcc: x@y.z"}, "smtp_from"),
        ({"smtp_host": "m", "smtp_from": "a@b.example", "smtp_tls": "maybe"}, "smtp_tls"),
        ({"smtp_host": "m", "smtp_from": "a@b.example", "smtp_tls": "none", "smtp_username": "u"}, "in the clear"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BudgetConfig(**{"alert_webhook_secret": Secret("x" * 32), **fields})
