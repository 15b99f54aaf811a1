"""What commands make of their arguments and of records, without a server."""

import datetime
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mesh.app import ROOT
from mesh.cli import application, budget, doctor, key, price
from mesh.cli.client import Failure
from mesh.cli.explain import story
from mesh.cli.logs import line

NOW = datetime.datetime(2026, 11, 21, 12, 0, 0, tzinfo=datetime.UTC)
RECORD = {
    "request_id": "0192-r",
    "asked_model": "auto",
    "stream": True,
    "started_at": "2026-11-21T11:59:00Z",
    "ended_at": "2026-11-21T11:59:01.500Z",
    "route": {
        "profile": "quality",
        "reason": "best quality that has a price",
        "candidates": [
            {"model": "a/x", "provider": "a", "score": 0.9, "quality_score": 0.8},
            {"model": "b/y", "provider": "b", "excluded": "breaker open"},
        ],
    },
    "attempts": [
        {"model": "b/y", "provider": "b", "status_code": 503, "reason": "ERROR_REASON_PROVIDER_BUSY"},
        {
            "model": "a/x",
            "provider": "a",
            "status_code": 200,
            "started_at": "2026-11-21T11:59:00.500Z",
            "ended_at": "2026-11-21T11:59:01.500Z",
            "first_token_ms": 120.4,
            "usage": {"input_tokens": "10", "output_tokens": "20"},
            "usage_source": "USAGE_SOURCE_PROVIDER",
            "price_version": "7",
            "price_lines": [
                {"bucket": "input", "tokens": "10", "nano_usd_per_mtok": "150000000", "cost_nano_usd": "1500"}
            ],
        },
    ],
    "cache": {"status": "STATUS_MISS"},
    "reserved_nano_usd": "9000",
    "cost_nano_usd": "1500",
    "stage_ms": {"generate": 1000.0, "authenticate": 0.25},
    "outcome": "OUTCOME_OK",
    "http_status": 200,
    "finish_reason": "stop",
}


def test_the_story_tells_everything() -> None:
    text = "\n".join(story(RECORD))
    for part in (
        "asked      auto, streamed",
        "best quality that has a price (profile quality)",
        "breaker open",
        "b/y at b: failed: provider busy, HTTP 503",
        "a/x at a: ok, HTTP 200; first token 120 ms, in all 1.00 s",
        "used: input 10, output 20 (source: provider)",
        "miss",
        "reserved $0.000009 → charged $0.0000015",
        "price version 7",
        "$0.15 per million",
        "0.25 ms",
        "ok, HTTP 200, finish reason stop",
    ):
        assert part in text, part
    assert text.index("authenticate") < text.index("generate")


def test_the_story_tells_what_went_along() -> None:
    context = {
        "source": "SOURCE_MEMORY",
        "messages": "4",
        "recalled": "2",
        "tokens": "90",
        "summarised": True,
        "saved": "SAVED_PARTIAL",
        "left_out": [{"kind": "window", "count": "10", "why": "max_tokens"}],
    }
    text = "\n".join(story({**RECORD, "context": context}))
    assert "memory, 4 earlier messages, 2 memories, 90 tokens, a summary" in text
    assert "left out: 10 of window (max_tokens)" in text and "saved: partial" in text
    assert "Context" not in "\n".join(story(RECORD))


def test_the_story_tells_what_was_redacted() -> None:
    found = {"kinds": {"phone": 1, "email": 2}, "action": "redact", "restored": True}
    text = "\n".join(story({**RECORD, "redaction": found}))
    assert "Private values\n  email 2, phone 1, action redact, put back into the answer" in text
    assert "none found, action flag" in "\n".join(story({**RECORD, "redaction": {"action": "flag"}}))
    assert "Private values" not in "\n".join(story(RECORD))


def test_the_story_of_an_empty_record_is_told() -> None:
    text = "\n".join(story({}))
    assert "nothing was sent to a provider" in text and "no model was looked for" in text


def test_a_log_line() -> None:
    text = line(RECORD)
    assert "0192-r" in text and "auto → a/x" in text and "$0.0000015" in text and text.endswith("ok")
    assert line({"outcome": "OUTCOME_REFUSED", "reason": "ERROR_REASON_BUDGET_EXHAUSTED"}).endswith(
        "refused: budget exhausted"
    )


def test_expiry() -> None:
    assert key.expiry("30d", NOW) == "2026-12-21T12:00:00Z"
    assert key.expiry("2027-01-31T00:00:00Z", NOW) == "2027-01-31T00:00:00Z"
    for wrong in ("soon", "0d", "2020-01-01", "999999y", "-3d"):
        with pytest.raises(Failure):
            key.expiry(wrong, NOW)


@given(st.integers(0, 2**63 - 1))
def test_dollars_are_exact(nano: int) -> None:
    whole, rest = divmod(nano, 1_000_000_000)
    assert budget.nano(f"{whole}.{rest:09d}") == nano


@pytest.mark.parametrize("wrong", ["five", "-1", "nan", "inf", "0.0000000001", "", "1e30"])
def test_wrong_dollars_are_refused(wrong: str) -> None:
    with pytest.raises(Failure):
        budget.nano(wrong)


def test_a_price_is_read_as_in_the_configuration() -> None:
    assert price.body_of("m", {"input": "0.15", "output": "0.6"}, "") == {
        "nano_usd_per_mtok": {"input": "150000000", "output": "600000000"}
    }
    said = "{input_usd_per_mtok: '1', output_usd_per_mtok: '2', above: {9: {input_usd_per_mtok: '3'}}}"
    assert price.body_of("m", {}, said)["nano_usd_per_mtok"]["input>9"] == "3000000000"
    assert price.body_of("m", {}, "free") == {"free": True}
    for flags, said in (({"input": "1"}, ""), ({"input": "1"}, "free"), ({}, "{"), ({}, "[free]"), ({}, "gratis")):
        with pytest.raises(Failure):
            price.body_of("m", flags, said)


def test_a_price_is_listed_by_bucket() -> None:
    one = {"model": "a/x", "provider": "a", "source": "operator", "price_version": "7"}
    buckets = {"flex:input": "150000000", "audio_second": "100000000000", "request": "5000000"}
    shown = [row[2:6] for row in price.rows({**one, "nano_usd_per_mtok": buckets})]
    assert shown == [
        ("flex:input", "$0.15 per million", "operator", "7"),
        ("audio_second", "$0.36 an hour", "operator", "7"),
        ("request", "$0.005 a request", "operator", "7"),
    ]
    assert price.rows({**one, "price_version": "0"})[0][3:6] == ("free", "operator", "to come")
    assert price.rows({**one, "withdrawn": True})[0][3] == "unknown"


@pytest.mark.parametrize(
    "wrong", [[], ["--free", "--withdraw"], ["--free", "--input", "1"], ["--free", "--from", "soon"]]
)
def test_a_price_is_set_in_one_way(wrong: list[str]) -> None:
    done = CliRunner().invoke(application(), ["price", "set", "a/x", *wrong])
    assert done.exit_code == 2 and not done.stdout


def test_a_limit_hangs_on_one_thing() -> None:
    assert budget.level(org="o", key="") == {"kind": "KIND_ORG", "id": "o"}
    assert budget.level(org="", team="t") == {"kind": "KIND_TEAM", "id": "t"}
    for org, one in (("", ""), ("o", "k")):
        with pytest.raises(Failure):
            budget.level(org=org, key=one)


def test_thresholds_are_percents() -> None:
    assert budget.percents("50, 80") == [50, 80] and budget.percents("") == []
    with pytest.raises(Failure):
        budget.percents("half")


def test_open_secrets_are_found(tmp_path: pathlib.Path) -> None:
    (tmp_path / "secrets").mkdir(mode=0o700)
    secret = tmp_path / "secrets" / "master.key"
    secret.touch(0o600)
    assert doctor.check_data(tmp_path).ok
    secret.chmod(0o644)
    found = doctor.check_data(tmp_path)
    assert not found.ok and "master.key" in found.detail and "chmod" in found.mend


def test_full_disks_and_wrong_clocks_are_found(tmp_path: pathlib.Path) -> None:
    assert doctor.check_disk(tmp_path / "not" / "yet", 1).ok
    assert not doctor.check_disk(tmp_path, 1 << 62).ok
    assert doctor.clock("Sat, 21 Nov 2026 12:00:00 GMT", NOW.timestamp() + 5).ok
    assert not doctor.clock("Sat, 21 Nov 2026 12:00:00 GMT", NOW.timestamp() + 300).ok


def commands(group: click.Group, path: str = "dac") -> Iterator[tuple[str, click.Command]]:
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from commands(one, f"{path} {name}")  # type: ignore[arg-type]
        else:
            yield f"{path} {name}", one


def test_every_command_has_an_example_of_itself() -> None:
    found = dict(commands(typer.main.get_command(application())))  # type: ignore[arg-type]
    assert len(found) >= 20
    for path, one in found.items():
        # `dac models` is the same as `dac model`, and shows its examples.
        path = path.replace("dac models ", "dac model ")
        assert f"dac {path[4:]}" in example_of(one), path


def example_of(one: click.Command) -> str:
    """What the help of a command says to paste."""
    return (one.help or "").partition("Example: ")[2].partition("\n")[0]


def test_every_example_can_be_pasted() -> None:
    for path, one in commands(typer.main.get_command(application())):  # type: ignore[arg-type]
        example = example_of(one)
        checked = subprocess.run(["bash", "-n", "-c", example], capture_output=True, text=True)
        assert checked.returncode == 0, f"{example}: {checked.stderr}"
        words = shlex.split(example.partition("| less")[0].partition(" > ")[0])
        arguments = words[words.index("dac") + len(path.split()) :]
        with one.make_context(path, arguments):
            pass


EACH_ALONE = """
import os
import typer.main
from mesh.cli import PARTS, application

def commands(group, path):
    for name, one in getattr(group, "commands", {}).items():
        yield from commands(one, f"{path} {name}")
    if not hasattr(group, "commands"):
        yield path

for name in sorted({name for _, names in PARTS for name in names}):
    if not os.fork():
        whole = typer.main.get_command(application(name))
        print(*commands(whole.commands[name], f"dac {name}"), sep="\\n", flush=True)
        os._exit(0)
    os.wait()
"""
"""Each command as a start that asks for it finds it: with the modules of that one only."""


def test_a_command_asked_for_alone_has_all_its_parts() -> None:
    alone = subprocess.run([sys.executable, "-c", EACH_ALONE], cwd=ROOT, capture_output=True, text=True, check=True)
    whole = commands(typer.main.get_command(application()))  # type: ignore[arg-type]
    assert sorted(alone.stdout.splitlines()) == sorted(path for path, _ in whole)
