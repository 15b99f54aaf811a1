"""Starting, stopping, dying and coming back: data survives, messages name the mend."""

import asyncio
import json
import os
import signal
import socket
import threading
import time

import asyncpg
import httpx
import pytest

from tests import prepared, programs
from tests.edge.conftest import make_dac
from tests.ports import free_port


@pytest.fixture
def own(tmp_path, upstream_process):
    running = make_dac(tmp_path, upstream_process)
    yield running
    running.stop(signal.SIGKILL)


def run_up(dac, *arguments, **env):
    return programs.run(["up", "--config", str(dac.config), *arguments], {**dac.env, **env})


def test_restart_keeps_keys_threads_and_records(own, upstream_process):
    own.database = "nothing"
    own.start()
    answer = own.chat(thread_id="kept")
    request_id = own.record(answer)["request_id"]
    upstream_process.script("stall", after_tokens=3, times=1)
    body = {"model": "mock/gpt-4o-mini", "message": "Count.", "thread_id": "kept", "stream": True}
    with httpx.stream("POST", f"{own.url}/v1/chat/completions", json=body, headers=own.headers, timeout=30) as cut:
        next(line for line in cut.iter_lines() if "three" in line)
    # What was shown of the cut answer is saved by the time that it has stopped.
    assert own.stop() == 0
    own.start()
    assert own.get(f"/v1/requests/{request_id}").status_code == 200
    kept = own.get("/api/threads/kept/messages").json()["messages"]
    assert len(kept) == 4 and (kept[3]["status"], kept[3]["text"]) == ("STATUS_PARTIAL", "one two three")
    assert own.chat().status_code == 200
    assert own.stop() == 0


@pytest.mark.timeout(240)
def test_kill_9_loses_nothing_acknowledged(own):
    began = time.monotonic()
    own.start()
    first_s = time.monotonic() - began
    acknowledged, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            try:
                answer = own.chat(thread_id="survivor")
            except httpx.HTTPError:
                return
            if answer.status_code == 200:
                acknowledged.append(answer)

    workers = [threading.Thread(target=load) for _ in range(4)]
    for worker in workers:
        worker.start()
    while len(acknowledged) < 30:
        time.sleep(0.01)
    own.process.kill()
    own.process.wait()
    stop.set()
    for worker in workers:
        worker.join()
    began = time.monotonic()
    own.start()
    # It waits for nobody; a busy machine takes longer for every start.
    assert time.monotonic() - began < 5 + 2 * first_s
    saved, token = 0, ""
    while True:
        page = own.get(f"/api/threads/survivor/messages?page_size=100&page_token={token}").json()
        saved += sum(one["role"] == "assistant" for one in page["messages"])
        token = page["next_page_token"]
        if not token:
            break
    assert saved >= len(acknowledged)
    verified = own.get("/v1/budgets:verify").json()
    assert verified["differences"] == []
    resolved = int(verified["ledger_rows"]) + int(verified["open_reservations"])
    assert resolved >= len(acknowledged)
    assert own.stop() == 0


def test_a_taken_port_is_named_with_the_flag(own):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = run_up(own, "--http-port", str(port))
    assert done.returncode != 0 and str(port) in done.stderr and "--http-port" in done.stderr
    assert "Traceback" not in done.stderr


def test_sqlite_is_refused_with_the_reason(own):
    done = run_up(own, DATABASE_URL="sqlite:///x.db")
    assert done.returncode != 0 and "PostgreSQL" in done.stderr and "Traceback" not in done.stderr


def test_a_weak_bootstrap_key_is_refused(own):
    done = run_up(own, DAC_BOOTSTRAP_API_KEY="dac_live_abcdefghijkl_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
    assert done.returncode != 0 and "weak" in done.stderr.lower() and "Traceback" not in done.stderr


def test_an_unknown_key_in_the_config_names_the_nearest(own):
    own.config.write_text(own.config.read_text() + "\ngateway: {htp_port: 1}\n")
    done = run_up(own)
    assert done.returncode == 2 and '"http_port"' in done.stderr


def test_auth_off_is_for_loopback_only(own):
    assert run_up(own, "--auth=off", "--host", "0.0.0.0").returncode == 2
    own.arguments = ("--auth=off",)
    own.start()
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
    assert httpx.post(f"{own.url}/v1/chat/completions", json=body, timeout=20).status_code == 200
    assert httpx.get(f"{own.url}/v1/keys").status_code == 403
    assert own.has_said("WARNING")
    assert own.stop() == 0


def test_a_drain_finishes_running_streams(own, upstream_process):
    own.start()
    upstream_process.script("ok", token_delay_s=0.02)
    got = []

    def stream():
        got.append(own.chat(stream=True).text)

    reader = threading.Thread(target=stream)
    reader.start()
    while not upstream_process.requests():
        time.sleep(0.01)
    assert own.stop(signal.SIGINT) == 0
    reader.join()
    assert got[0].endswith("data: [DONE]\n\n")


def services_of(dac):
    return json.loads(programs.run(["status", "--json", "--data-dir", str(dac.data_dir)], os.environ).stdout)[
        "services"
    ]


def check_rate_limits(dac):
    """Budget in another process counts, tells and frees as it does in the gateway's own."""
    level, model = {"kind": "KIND_ORG"}, "second/small"
    body = {"level": level, "model": model, "requests_per_minute": 4, "concurrent_requests": 1}
    made = httpx.put(f"{dac.url}/v1/rate-limits", headers=dac.headers, json=body).json()["rate_limit"]
    left = [
        dac.chat(model=model, stream=stream).headers["x-ratelimit-remaining-requests"] for stream in (True, False) * 2
    ]
    assert left == ["3", "2", "1", "0"]
    refused = dac.chat(model=model)
    assert refused.status_code == 429 and int(refused.headers["retry-after-ms"]) > 0
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    gone = httpx.delete(f"{dac.url}/v1/rate-limits/{made['rate_limit_id']}", headers=dac.headers)
    assert gone.status_code == 200 and dac.chat(model=model).status_code == 200


def after_question(dac, thread, text):
    """The answer to a question of a thread, once both are saved."""
    messages = dac.get(f"/api/threads/{thread}/messages?page_size=100").json()["messages"]
    asked = next((one["request_id"] for one in messages if one["text"] == text), "")
    return [one for one in messages if one["request_id"] == asked and one["role"] == "assistant" and asked]


def check_made_model(split):
    """A model that one process keeps is known to the one that charges, before anybody could ask for it twice."""
    prices = [{"usd_per_mtok": {"input": "1", "output": "2"}}]
    entry = {"model": "mock/made", "provider": "mock", "context_tokens": 9000, "prices": prices}
    made = httpx.post(f"{split.url}/v2/models", json={"entry": entry}, headers=split.operator_headers, timeout=10)
    assert made.status_code == 200, made.text
    began = time.monotonic()
    while not split.get("/v1/prices", params={"model": "mock/made"}).json()["prices"]:
        assert time.monotonic() - began < 3, "budget heard nothing of it"
        time.sleep(0.02)
    answered = split.chat(model="mock/made")
    assert int(split.record(answered)["cost_nano_usd"]) > 0


def test_split_runs_six_processes_and_heals(tmp_path, upstream_process):
    split = make_dac(tmp_path, upstream_process, "--split")
    split.start()
    try:
        rows = services_of(split)
        assert len(rows) == len({row["pid"] for row in rows}) == 6
        assert split.chat(model="auto").status_code == 200
        streamed = split.chat(stream=True, thread_id="t")
        assert streamed.text.endswith("data: [DONE]\n\n")
        assert split.record(streamed)["outcome"] == "OUTCOME_OK"
        check_rate_limits(split)
        check_made_model(split)
        pids = {row["name"]: row["pid"] for row in rows}
        os.kill(pids["audit"], signal.SIGKILL)
        while_down = split.chat()
        assert while_down.status_code == 200
        os.kill(pids["memory"], signal.SIGKILL)
        assert split.chat(enable_cache=True).status_code == 200
        # A memory that is away loses neither the answer nor the turn.
        unsaved = split.chat(thread_id="t", messages=[{"role": "user", "content": "Are you there?"}])
        assert unsaved.status_code == 200
        assert (unsaved.headers["x-dac-context"], unsaved.headers["x-dac-thread-saved"]) == ("none", "later")
        end = time.monotonic() + 20
        while split.chat(thread_id="t").status_code != 200 or split.get("/health").json()["status"] != "healthy":
            assert time.monotonic() < end
            time.sleep(0.1)
        end = time.monotonic() + 20
        while not after_question(split, "t", "Are you there?"):
            assert time.monotonic() < end
            time.sleep(0.1)
        assert split.record(unsaved, timeout_s=15)["context"]["saved"] == "SAVED_LATER"
        assert split.record(while_down, timeout_s=15)["outcome"] == "OUTCOME_OK"
        assert split.get("/v1/budgets:verify").json()["differences"] == []
    finally:
        assert split.stop() == 0
    for row in rows:
        with pytest.raises(ProcessLookupError):
            os.kill(row["pid"], 0)


def records_of(dac):
    """Every stored record, by its request id."""
    found, token = {}, ""
    with httpx.Client(base_url=dac.url, headers=dac.headers, timeout=30) as client:
        while True:
            page = client.get("/v1/requests", params={"page_size": 100, "page_token": token}).json()
            found |= {record["request_id"]: record for record in page["requests"]}
            token = page.get("next_page_token", "")
            if not token:
                return found


@pytest.mark.timeout(150)
def test_a_split_budget_killed_under_load_loses_nothing_acknowledged_and_charges_nothing_twice(
    tmp_path, upstream_process
):
    split = make_dac(tmp_path, upstream_process, "--split")
    split.start()
    acknowledged, wrong, stop = [], [], threading.Event()

    def load():
        body = {"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}
        with httpx.Client(headers=split.headers, timeout=30) as client:
            while not stop.wait(0.02):
                answer = client.post(f"{split.url}/v1/chat/completions", json=body)
                if answer.status_code == 200:
                    acknowledged.append(answer.headers["x-dac-request-id"])
                elif answer.status_code != 503:
                    wrong.append(answer.text)

    def budget_pid():
        return next(row["pid"] for row in services_of(split) if row["name"] == "budget")

    def until(is_so):
        end = time.monotonic() + 30
        while not is_so():
            assert time.monotonic() < end, split.log()
            time.sleep(0.02)

    try:
        org_id = split.get("/v1/caller").json()["org_id"]
        limit = {"level": {"kind": "KIND_ORG", "id": org_id}, "window": "WINDOW_NONE", "limit_nano_usd": str(10**12)}
        made = httpx.put(f"{split.url}/v1/budgets", headers=split.headers, json=limit, timeout=20)
        assert made.status_code == 200, made.text
        workers = [threading.Thread(target=load) for _ in range(6)]
        for worker in workers:
            worker.start()
        for _ in range(2):
            before, killed = len(acknowledged), budget_pid()
            until(lambda: len(acknowledged) >= before + 30)  # noqa: B023
            os.kill(killed, signal.SIGKILL)
            until(lambda: budget_pid() != killed)  # noqa: B023
        before = len(acknowledged)
        until(lambda: len(acknowledged) >= before + 30)
        stop.set()
        for worker in workers:
            worker.join()
        # What the gateway holds is stored, whatever budget was doing when it died.
        until(lambda: split.get("/v1/budgets:verify").json()["open_reservations"] == "0")
        assert split.get("/v1/budgets:verify").json()["differences"] == []
        until(lambda: set(acknowledged) <= set(records_of(split)))
        records = [record for request_id, record in records_of(split).items() if request_id in set(acknowledged)]
        costs = {attempt["cost_nano_usd"] for record in records for attempt in record["attempts"]}
        assert {record["outcome"] for record in records} == {"OUTCOME_OK"} and len(costs) == 1 and wrong == []
        (budget,) = split.get("/v1/budgets").json()["budgets"]
        assert int(budget["spent_nano_usd"]) == len(upstream_process.requests()) * int(costs.pop())
        assert int(budget["reserved_nano_usd"]) == 0 and len(upstream_process.requests()) >= len(acknowledged)
    finally:
        stop.set()
        assert split.stop() == 0


def test_workers_share_one_port(tmp_path, upstream_process):
    running = make_dac(tmp_path, upstream_process, "--workers", "2")
    running.env["DAC_MESH_LAME_DUCK_S"] = "5"
    running.start()
    try:
        end = time.monotonic() + 20
        rows = services_of(running)
        while sum(row["name"] == "gateway" for row in rows) < 2:
            assert time.monotonic() < end  # The first worker answers before the second has started.
            time.sleep(0.1)
            rows = services_of(running)
        assert sum(row["name"] == "budget" for row in rows) == 1
        for _ in range(20):
            assert running.chat().status_code == 200
        assert running.get("/v1/budgets:verify").json()["differences"] == []
        held = {"model": "mock/gpt-4o-mini", "state": "STATE_OPEN"}
        put = httpx.post(running.url + "/v1/breakers", json=held, headers=running.operator_headers, timeout=30)
        assert put.status_code == 200, put.text
        time_is_up, refused = time.monotonic() + 20, 0
        while refused < 30:  # Each on a connection of its own: both workers leave the model out.
            refused = refused + 1 if running.chat().status_code == 503 else 0
            assert time.monotonic() < time_is_up
    finally:
        began = time.monotonic()
        assert running.stop() == 0
    # All edge processes leave at once: one after the other would be twice the lame duck.
    assert time.monotonic() - began < 9.5


@pytest.mark.timeout(240)
def test_the_demo_model_answers_alone_and_yields_to_a_real_one(tmp_path, upstream_process):
    running = make_dac(tmp_path, upstream_process, local=True)
    config = running.config.read_text()
    running.config.write_text("gateway: {}\n")
    running.database = "nothing"
    running.start()
    assert running.has_said("the embedded demo model answers") and running.has_said("dac provider add openai")
    question = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
    for extra in ({}, {"stream": True}):
        answer = running.chat(model="auto", messages=question, **extra)
        assert answer.status_code == 200, answer.text
        assert "Paris" in answer.text and answer.headers["x-dac-model"] == "local/smollm2-135m"
    assert running.stop() == 0
    running.config.write_text(config)
    running.start()
    for model in ("auto", "auto:quality", "auto:speed", "auto:budget", "auto:balanced", "auto:long_context"):
        assert not running.chat(model=model).headers["x-dac-model"].startswith("local/")
    assert running.chat(model="local/smollm2-135m", messages=question).headers["x-dac-model"] == "local/smollm2-135m"
    assert running.stop() == 0


def test_a_provider_added_at_run_time_takes_effect_at_once(own, upstream_process):
    own.start()
    body = {"provider": "openai", "base_url": "http://127.0.0.1:1/v1", "api_key": "sk-x"}
    refused = httpx.post(f"{own.url}/v1/providers", headers=own.operator_headers, json=body, timeout=20)
    assert refused.status_code == 400 and "sk-x" not in refused.text
    assert free_port()
    assert own.stop() == 0


def test_an_own_postgresql_replaces_the_embedded_one(tmp_path, upstream_process):
    async def prepare(dsn):
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE ROLE boss LOGIN CREATEROLE PASSWORD 'b'")
        await connection.execute("CREATE ROLE app LOGIN PASSWORD 'a'")
        await connection.execute("CREATE DATABASE theirs OWNER boss")
        await connection.close()

    server = prepared.server_in(tmp_path / "pg")
    server.start()
    try:
        with asyncio.Runner() as runner:
            runner.run(prepare(server.superuser_dsn))
        running = make_dac(tmp_path, upstream_process)
        running.env["DATABASE_OWNER_URL"] = server.dsn("boss", "b", "theirs")
        refused = run_up(running, DATABASE_URL=server.superuser_dsn.replace("/postgres?", "/theirs?"))
        assert refused.returncode == 1 and "superuser" in refused.stderr
        running.env["DATABASE_URL"] = server.dsn("app", "a", "theirs")
        running.start()
        assert running.record(running.chat())["outcome"] == "OUTCOME_OK"
        assert not (running.data_dir / "postgres").exists()
        assert running.stop() == 0
    finally:
        server.stop()


def test_another_master_key_is_refused(own):
    own.start()
    assert own.stop() == 0
    (own.data_dir / "secrets" / "master.key").write_text("ab" * 32)
    done = run_up(own)
    assert done.returncode == 1 and "Traceback" not in done.stderr


def test_keys_in_the_environment_become_models_that_are_told(tmp_path, upstream_process):
    running = make_dac(tmp_path, upstream_process, local=True)
    running.config.write_text("gateway: {}\n")
    running.env["OPENAI_API_KEY"] = "sk-canary-1234567890"
    running.start()
    assert running.has_said("models that answer now: ") and "openai" in running.log()
    assert "demo model answers" not in running.log()
    ids = [one["id"] for one in running.get("/v1/models").json()["data"]]
    assert any(one.startswith("openai/") for one in ids)
    assert "sk-canary" not in running.log()
    assert running.stop() == 0


def test_a_postgresql_that_dies_is_started_again(own):
    own.start()
    thread = own.chat(thread_id="through")
    assert thread.status_code == 200
    pid = int((own.data_dir / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 15
    while own.get("/ready").status_code != 200 or own.chat(thread_id="through").status_code != 200:
        assert time.monotonic() < end, own.log()
        time.sleep(0.05)
    assert own.get("/v1/budgets:verify").json()["differences"] == []
    assert own.stop() == 0
