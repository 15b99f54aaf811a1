"""The `dac` command against a running DAC."""

import json
import os
import signal
import subprocess
import time

import pytest

from tests import programs
from tests.edge.conftest import Dac

MODEL = "mock/gpt-4o-mini"


def run(dac: Dac, *arguments: str, key: str | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command with the first key, or as the operator for key=""."""
    env = {**os.environ, "DAC_BASE_URL": dac.url, "DAC_DATA_DIR": str(dac.data_dir)}
    env["DAC_API_KEY"] = dac.key if key is None else key
    return programs.run([*arguments], env, stdin=stdin)


def answered(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The one JSON value of a command that did its work."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_a_key_is_made_used_limited_and_revoked(dac: Dac) -> None:
    made = answered(run(dac, "key", "create", "cli-test", "--expires", "1d", "--json"))
    key_id, token = made["key"]["key_id"], str(made["token"])  # type: ignore[index]
    assert run(dac, "chat", "Hi", "--model", MODEL, key=token).returncode == 0
    budget = answered(run(dac, "budget", "set", "--key", key_id, "--limit-usd", "0.5", "--json"))["budget"]
    assert budget["limit_nano_usd"] == "500000000"  # type: ignore[index]
    assert run(dac, "budget", "delete", budget["budget_id"], "--yes").returncode == 0  # type: ignore[index]
    assert run(dac, "key", "revoke", key_id).returncode == 1
    assert run(dac, "key", "revoke", key_id, "--yes").returncode == 0
    end = time.monotonic() + 5
    while (refused := run(dac, "model", "list", key=token)).returncode == 0:
        assert time.monotonic() < end, "a revoked key is still served"
    assert refused.returncode == 4


def test_a_chat_can_be_explained(dac: Dac) -> None:
    told = answered(run(dac, "chat", "--model", MODEL, "--json", stdin="Hello?"))
    assert told["text"] and float(str(told["cost_usd"])) > 0
    request_id, end = str(told["request_id"]), time.monotonic() + 5
    while (story := run(dac, "explain", request_id)).returncode != 0:
        assert time.monotonic() < end, story.stderr
    for title in ("Route", "Attempts", "Cache", "Charge", "Time", "Outcome"):
        assert f"\n{title}\n" in story.stdout
    assert request_id in run(dac, "logs", "--limit", "50").stdout
    assert run(dac, "budget", "verify").returncode == 0


def test_following_shows_a_new_request(dac: Dac) -> None:
    env = {**os.environ, "DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.key, "PYTHONUNBUFFERED": "1"}
    answered(run(dac, "chat", "before", "--model", MODEL, "--json"))
    reading, writing = os.pipe()
    with open(reading) as told:  # noqa: PTH123
        with open(writing, "wb") as out:  # noqa: PTH123
            following = programs.start(["logs", "-f", "--limit", "1", "--json"], env, stdout=out)
        try:
            told.readline()
            wanted = answered(run(dac, "chat", "Hi", "--model", MODEL, "--json"))["request_id"]
            while json.loads(told.readline())["request_id"] != wanted:
                pass
        finally:
            following.send_signal(signal.SIGINT)
        assert following.wait(10) == 130


def test_the_operator_needs_no_key(dac: Dac) -> None:
    found = answered(run(dac, "provider", "list", "--json", key=""))["providers"]
    assert {"mock", "claude"} <= {one["provider"] for one in found}  # type: ignore[attr-defined]


def test_what_only_the_operator_may_says_how_to_be_the_operator(dac: Dac) -> None:
    refused = run(dac, "provider", "list")
    assert refused.returncode == 0, "an administrator reads them"
    refused = run(dac, "provider", "remove", "mock", "--yes")
    assert refused.returncode == 1 and "env -u DAC_API_KEY" in refused.stderr
    env = {**os.environ, "DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.key, "DAC_DATA_DIR": "/nowhere"}
    elsewhere = programs.run(["provider", "remove", "mock", "--yes"], env)
    assert elsewhere.returncode == 1 and "env -u" not in elsewhere.stderr


def test_a_budget_is_set_for_a_team_by_its_name(dac: Dac) -> None:
    team = answered(run(dac, "team", "create", "spenders", "--json"))["team"]["team_id"]  # type: ignore[index]
    budget = answered(run(dac, "budget", "set", "--team", "spenders", "--limit-usd", "5", "--json"))["budget"]
    assert budget["level"] == {"kind": "KIND_TEAM", "id": team}  # type: ignore[index]
    unknown = run(dac, "budget", "set", "--team", "savers", "--limit-usd", "5")
    assert unknown.returncode == 1 and "dac team list" in unknown.stderr
    assert run(dac, "budget", "delete", budget["budget_id"], "--yes").returncode == 0  # type: ignore[index]
    assert run(dac, "team", "delete", "spenders", "--yes").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("import", "litellm", "nowhere.yaml"), 2, "nowhere.yaml cannot be read: No such file or directory\n"),
        (("conversations", "import", "nowhere.md"), 2, "nowhere.md cannot be read: No such file or directory\n"),
        (("audit", "verify", "--checkpoint", "nowhere"), 2, "nowhere: No such file or directory\n"),
        (("redact", "nowhere.txt"), 2, "nowhere.txt cannot be read: No such file or directory\n"),
        (("explain", "no-such-request"), 1, "no-such-request"),
        (("chat", "Hi", "--model", "no/such"), 1, "no/such"),
        (("key", "create"), 2, ""),
        (("model", "list", "--url", "http://127.0.0.1:9"), 3, "does not answer"),
    ],
)
def test_exit_codes(dac: Dac, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = run(dac, *arguments)
    assert (done.returncode, done.stdout) == (code, "") and said in done.stderr


def test_a_wrong_key_is_exit_code_4(dac: Dac) -> None:
    assert run(dac, "model", "list", key="dac_test_wrong").returncode == 4
