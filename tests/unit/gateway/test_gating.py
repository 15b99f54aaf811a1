"""Rules, verdicts and what an answer is checked against."""

import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dac.provider.v1.provider_pb2 import GenerateFinish
from dac.router.v1.answers_pb2 import AnswerRules, ValidationRules
from dac.type.v1.record_pb2 import AttemptRecord, RequestRecord, ValidationRecord
from mesh.config import Secret
from mesh.errors import MeshError
from services.gateway.config import GatewayConfig
from services.gateway.gating.answer_check import last_of_record
from services.gateway.gating.inference import Inference
from services.gateway.gating.rules import PLAIN, rules_of
from services.gateway.gating.sources import MOST_SOURCES, read_sources, read_wish
from services.gateway.gating.subjects import question_of, schema_of
from services.gateway.gating.verdict import Opinion, unchecked, verdict_of
from services.gateway.gating.webhooks import read_urls
from services.gateway.validation.subject import FAILED, FLAGGED, NOT_CHECKED, PASSED, Finding, Report
from services.gateway.wire import anthropic_wire, openai_wire, responses_wire

SCHEMA = {"type": "object", "required": ["name"]}
STATUSES = st.sampled_from([PASSED, FLAGGED, FAILED, NOT_CHECKED])


def policy(**fields: object) -> AnswerRules:
    return AnswerRules(validation=ValidationRules(enabled=True, **fields))  # type: ignore[arg-type]


def test_what_request_and_policy_say_together() -> None:
    assert rules_of(None, None) is None and rules_of(False, None) is None and rules_of(True, None) is PLAIN
    off = AnswerRules(validation=ValidationRules(action="block"))
    assert rules_of(None, off) is None and rules_of(True, off) is PLAIN
    flags = rules_of(None, policy())
    assert flags is not None and (flags.action, flags.hold, flags.retries) == ("flag", False, 0)
    for action, retries, hold in (("flag", 0, False), ("retry", 1, False), ("block", 0, True)):
        found = rules_of(None, policy(action=action, max_retries=0))
        assert found is not None and (found.retries, found.hold) == (retries, hold), action
        refused = rules_of(False, policy(action=action))
        assert (refused is not None) == (action == "block"), "only what blocks cannot be refused"
    asked = rules_of(None, policy(action="block", streams="flag"))
    assert asked is not None and not asked.hold
    many = rules_of(None, policy(action="retry", max_retries=99, streams="hold"))
    assert many is not None and many.retries == 5 and many.hold


@given(st.dictionaries(st.sampled_from(["code", "shape", "schema"]), STATUSES), st.floats(0, 1), st.floats(0, 1))
def test_a_verdict_is_what_its_checks_say(checks: dict[str, str], quality: float, least: float) -> None:
    found = verdict_of(Report(quality, {}, checks, (), {}), (), least)
    checked = set(checks.values()) - {NOT_CHECKED}
    assert (found.status == NOT_CHECKED) == (not checked)
    if not checked:
        assert found.quality is None and not found.fails
        return
    assert found.fails == (FAILED in checked or quality < least)
    assert (found.status == PASSED) == (not found.fails and FLAGGED not in checked)
    name, line = found.header("hold")
    assert name == b"x-dac-validation" and line.decode().startswith(f"{found.status}; quality={quality:.2f}")


def test_opinions_count_where_they_could_be_formed() -> None:
    report = Report(0.8, {"toxicity": 0.1}, {"toxicity": PASSED}, (), {})
    lost = Opinion("judge", NOT_CHECKED, note="the judge took too long")
    found = verdict_of(report, [lost, Opinion("webhook", FLAGGED, 0.5)], 0.3)
    assert found.status == FLAGGED and found.quality == pytest.approx(0.4) and not found.fails
    assert found.checks == {"toxicity": PASSED, "judge": NOT_CHECKED, "webhook": FLAGGED}
    assert "judge" not in found.scores and found.note == "the judge took too long"
    nothing = Report(1.0, {}, {"support": NOT_CHECKED}, (), {})
    assert verdict_of(nothing, [lost], 0.9).status == NOT_CHECKED, "who could not check speaks against nobody"
    assert verdict_of(nothing, [Opinion("judge", FAILED, 0.1)], 0).fails


def test_an_unjudged_answer_is_better_than_a_failing_one_and_worse_than_one_that_passes() -> None:
    good = verdict_of(Report(0.7, {}, {"code": PASSED}, (), {}), (), 0)
    bad = verdict_of(Report(0.9, {}, {"code": FAILED}, (), {}), (), 0)
    assert good.rank > unchecked("no time").rank > bad.rank


def test_a_record_has_counts_and_no_text() -> None:
    secret = Finding("code", "error", "the canary sings", 3, 4)
    verdict = verdict_of(Report(0.5, {}, {"code": FAILED}, (secret, secret), {}), (), 0)
    record = ValidationRecord()
    verdict.write(record, policy="p@1", action="flag", mode="whole")
    assert record.findings == {"code": 2} and record.quality == 0.5 and b"canary" not in record.SerializeToString()
    assert "canary" not in json.dumps(verdict.told("whole"))


def test_the_question_and_the_schema_of_every_form() -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    messages = [{"role": "user", "content": "First?"}, {"role": "assistant", "content": "Yes."}]
    said = {"role": "user", "content": [{"type": "text", "text": "Why?"}]}
    body = {"model": "m/x", "messages": [*messages, said], "response_format": format_, "enable_validation": True}
    chat = openai_wire.parse_chat(json.dumps(body).encode())
    assert (question_of(chat), schema_of(chat), chat.enable_validation) == ("Why?", SCHEMA, True)
    assert b"enable_validation" not in chat.body
    flat = {"type": "json_schema", "name": "x", "schema": SCHEMA}
    asked = {"model": "m/x", "input": [{"role": "user", "content": [{"type": "input_text", "text": "Why?"}]}]}
    response = responses_wire.parse_responses(json.dumps({**asked, "text": {"format": flat}}).encode())
    assert (question_of(response), schema_of(response)) == ("Why?", SCHEMA)
    plain = responses_wire.parse_responses(b'{"model": "m/x", "input": "Why?", "text": {"format": {"type": "text"}}}')
    assert (question_of(plain), schema_of(plain)) == ("Why?", None)
    claude = {"model": "m/x", "max_tokens": 9, "messages": [said], "output_config": {"format": flat}}
    message = anthropic_wire.parse_messages(json.dumps(claude).encode())
    assert (question_of(message), schema_of(message)) == ("Why?", SCHEMA)
    any_json = openai_wire.parse_chat(json.dumps({**body, "response_format": {"type": "json_object"}}).encode())
    assert schema_of(any_json) == {}


def test_what_a_request_may_say() -> None:
    assert read_sources(["a", " "], "context") == ("a",)
    for wrong in (["x"] * (MOST_SOURCES + 1), ["x" * 200_001]):
        with pytest.raises(MeshError, match="at most"):
            read_sources(wrong, "context")
    assert (read_wish(""), read_wish("On"), read_wish("off")) == (None, True, False)
    with pytest.raises(MeshError, match="on or off"):
        read_wish("yes")
    assert read_urls(["a=https://x/y?z=1"]) == {"a": "https://x/y?z=1"}
    for entries in (["https://x"], ["a b=https://x"], ["a=https://x", "a=https://y"], ["a="]):
        with pytest.raises(ValueError, match="webhook"):
            read_urls(entries)


def test_the_attempts_of_the_answer_that_was_given_stand_last() -> None:
    one, two, three = (AttemptRecord(attempt_id=name) for name in "abc")
    record = RequestRecord(attempts=[one, two, three])
    last_of_record(record, GenerateFinish(attempts=[one, two]))
    assert [attempt.attempt_id for attempt in record.attempts] == ["c", "a", "b"]
    last_of_record(record, GenerateFinish(attempts=[one, two]))
    assert [attempt.attempt_id for attempt in record.attempts] == ["c", "a", "b"]


async def test_a_model_that_cannot_be_used_is_told_of_once(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"no model")
    (tmp_path / "vocab.txt").write_text("[CLS]\n[SEP]\n[UNK]\n")
    inference = Inference(model)
    assert [await inference.entailment([("It rains.", "It is wet.")]) for _ in range(2)] == [None, None]
    assert len([one for one in caplog.records if "validation_nli_path" in one.message]) == 1
    with pytest.raises(ValueError, match="there is no file"):
        GatewayConfig(validation_nli_path=tmp_path / "none.onnx")


def test_the_configuration_of_webhooks_is_checked_at_the_start() -> None:
    secret = Secret("x" * 24)
    fine = {"validation_webhooks": ("a=https://checks.example.com/x",), "validation_webhook_secret": secret}
    GatewayConfig(**fine)  # type: ignore[arg-type]
    for wrong in (
        {"validation_webhooks": ("a=http://checks.example.com/x",)},
        {"validation_webhooks": ("a=https://10.0.0.1/x",)},
        {"validation_webhooks": ("a=https://me:pw@checks.example.com/x",)},
        {"validation_webhook_secret": None},
        {"validation_webhook_secret": Secret("short")},
        {"validation_webhook_timeout_s": 0},
    ):
        with pytest.raises(ValueError, match="validation_webhook"):
            GatewayConfig(**{**fine, **wrong})  # type: ignore[arg-type]
