"""Requests in the console: the list, and the whole story of one with why it went where it went."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from typing import Any

from dac.audit.v1.text_pb2 import GetTextResponse
from dac.type.v1 import error_pb2, record_pb2, usage_pb2
from dac.type.v1.record_pb2 import AttemptRecord, ContextRecord, RequestRecord
from mesh.model_prices import split_bucket
from mesh.usage import answer_tokens, prompt_tokens
from services.gateway.console.frame import badge, card, cell, chat_curl, empty, option, table
from services.gateway.console.html import Safe, bar, count, el, elapsed_ms, enum_word, milliseconds, money, text, when

OUTCOMES = {
    record_pb2.OUTCOME_OK: ("ok", "good"),
    record_pb2.OUTCOME_CLIENT_GONE: ("client gone", "warn"),
    record_pb2.OUTCOME_REFUSED: ("refused", "warn"),
    record_pb2.OUTCOME_FAILED: ("failed", "bad"),
    record_pb2.OUTCOME_INDETERMINATE: ("unclear", "bad"),
}
CHAT = "chat"
STAGES = (
    "context",
    "route",
    "prepare",
    "cache",
    "reserve",
    "save_question",
    "first_token",
    "generate",
    "embed",
    "validate",
    "save",
    "store",
)
STAGE_MEANS = {
    "context": "reading the thread and its memories",
    "route": "choosing the model",
    "cache": "looking for a stored answer",
    "reserve": "holding the budget",
    "prepare": "doing what the policy asks for",
    "save_question": "saving the question",
    "first_token": "waiting for the first token",
    "generate": "the rest of the answer",
    "embed": "waiting for the vectors",
    "save": "saving the answer",
    "validate": "checking the answer",
    "store": "storing it in the cache",
}
SCORES = ("quality", "latency", "cost", "context")


def answered_by(record: RequestRecord) -> str:
    """The model that answered, or the one that was asked for."""
    return record.attempts[-1].model if record.attempts else record.asked_model


def outcome_badge(record: RequestRecord) -> Safe:
    """How it ended."""
    word, kind = OUTCOMES.get(record.outcome, ("unknown", ""))
    return badge(word, kind)


def why(record: RequestRecord) -> str:
    """One sentence: why this route, or what stopped the request."""
    if record.cache.status == record_pb2.CacheRecord.STATUS_HIT:
        return "Answered from the cache."
    if record.cache.status == record_pb2.CacheRecord.STATUS_COALESCED:
        return f"Answered by the call of request {record.cache.leader_request_id}, which was under way."
    said = record.route.reason or record.message or "No model was looked for."
    fallen = dict.fromkeys(one.model for one in record.attempts if one.reason and one.model != answered_by(record))
    if fallen and record.outcome == record_pb2.OUTCOME_OK:
        said += f" {', '.join(fallen)} failed, so {answered_by(record)} answered."
    elif record.message and record.message != said:
        said += f" {record.message}"
    return said


def total_tokens(record: RequestRecord) -> int:
    """Every token of every attempt."""
    return sum(prompt_tokens(one.usage) + answer_tokens(one.usage) for one in record.attempts)


HEADINGS = (
    ("When", ""),
    ("Model", ""),
    ("Outcome", ""),
    ("Why this route", "-"),
    ("Tokens", "num"),
    ("Cost", "num"),
    ("Took", "num"),
    ("", "-"),
)


def row(record: RequestRecord) -> Safe:
    """A request in the list; its link opens the story, in place when the script runs."""
    took, used = elapsed_ms(record.started_at, record.ended_at), total_tokens(record)
    model, link = answered_by(record), f"/console/requests/{record.request_id}"
    asked = el("small", f"asked {record.asked_model}") if record.asked_model != model else None
    kind = badge(record.operation) if record.operation not in ("", CHAT) else None
    return el(
        "tr",
        cell("When", when(record.started_at), sort=record.started_at.ToNanoseconds(), class_="nowrap"),
        cell("Model", el("span", model or "–", class_="mono"), asked, kind, sort=model),
        cell("Outcome", outcome_badge(record), sort=record.outcome),
        cell("Why this route", el("span", why(record), class_="clamp")),
        cell("Tokens", count(used) if used else "–", sort=used, class_="num"),
        cell("Cost", money(record.cost_nano_usd), sort=record.cost_nano_usd, class_="num"),
        cell("Took", milliseconds(took), sort=took, class_="num"),
        cell(
            "",
            el(
                "a",
                "Story",
                href=link,
                class_="button quiet",
                data_expand=True,
                aria_label=f"Story of request {record.request_id}",
            ),
        ),
    )


def outcome_of(asked: str) -> record_pb2.Outcome:
    """The outcome that the filter's form sends; any other text is no filter."""
    return next((number for number in OUTCOMES if str(int(number)) == asked), record_pb2.OUTCOME_UNSPECIFIED)


def listing(
    records: Sequence[RequestRecord], base_url: str, *, model: str, outcome: str, models: Sequence[str], older: str
) -> Safe:
    """Filters, the list, and what to do when it is empty."""
    filters = el(
        "form",
        el("label", "Model", for_="model"),
        el("input", id="model", name="model", value=model, list="models", placeholder="any", autocomplete="off"),
        el("datalist", *(el("option", value=one) for one in models), id="models"),
        el("label", "Outcome", for_="outcome"),
        el(
            "select",
            option("", "any", outcome),
            *(option(str(int(number)), word, outcome) for number, (word, _) in OUTCOMES.items()),
            id="outcome",
            name="outcome",
        ),
        el("label", "Request id", for_="id"),
        el("input", id="id", name="id", placeholder="x-dac-request-id", autocomplete="off", maxlength=80),
        el("button", "Find"),
        el("a", "Clear", href="/console/requests", class_="button quiet") if model or outcome else None,
        method="get",
        action="/console/requests",
        class_="filters",
    )
    if not records and not (model or outcome):
        return card("Last requests", empty("Nothing was asked yet. Ask something:", chat_curl(base_url), "first-curl"))
    query = urllib.parse.urlencode({name: value for name, value in (("model", model), ("outcome", outcome)) if value})
    files = [
        el("a", name, href=f"/console/audit/requests.{form}?{query}", class_="button quiet")
        for form, name in (("csv", "Download CSV"), ("jsonl", "Download JSON lines"))
    ]
    aside = el("span", *files, class_="row")
    if not records:
        return card("Last requests", filters, el("p", "No request fits these filters.", class_="empty"))
    more = el("p", el("a", "Older requests", href=older, class_="button"), class_="more") if older else None
    listed = table("Last requests", HEADINGS, [row(one) for one in records])
    return card("Last requests", filters, listed, more, aside=aside)


def story(record: RequestRecord) -> Safe:
    """Everything that is known of one request."""
    return el(
        "div",
        card("What happened", _facts(record)),
        card("Why this route", _route(record), class_="why"),
        card("Attempts", _attempts(record)),
        el("div", card("Time", _time(record)), card("Charge", _charge(record)), class_="halves"),
        id="story",
        class_="story",
    )


def said(found: GetTextResponse) -> Safe:
    """What was said in a request: as it went to the provider, and as that answered."""
    parts = [
        ("Sent", found.text.request),
        ("Answered", found.text.answer),
        ("Tools called", found.text.tool_calls_json),
    ]
    return el("div", *(el("div", el("h3", name), el("pre", one)) for name, one in parts if one), id="said")


def _fact(name: str, *inside: Any) -> Safe:
    return el("div", el("dt", name), el("dd", *inside))


def _how(record: RequestRecord) -> str | None:
    """What was asked for when it was not a plain chat."""
    if record.operation not in ("", CHAT):
        return f" {record.operation}"
    return " streamed" if record.stream else None


def _facts(record: RequestRecord) -> Safe:
    reason = enum_word(error_pb2.ErrorReason.Name(record.reason), "ERROR_REASON_") if record.reason else ""
    facts = [
        _fact("Outcome", outcome_badge(record), f" HTTP {record.http_status}" if record.http_status else None),
        _fact("Asked", el("span", record.asked_model or "–", class_="mono"), _how(record)),
        _fact("Answered by", el("span", answered_by(record) or "–", class_="mono")) if record.attempts else None,
        _fact("When", when(record.started_at, relative=True)),
        _fact("Finish", record.finish_reason) if record.finish_reason else None,
        _fact("Cache", _cache(record)),
        _fact("Private values", _redaction(record)) if record.HasField("redaction") else None,
        _fact("Checks", _checks(record)) if record.HasField("validation") else None,
        _fact("Failure", reason) if reason else None,
        _fact("Thread", el("span", record.thread_id, class_="mono")) if record.thread_id else None,
        _fact("Went along", _context(record)) if record.HasField("context") else None,
        _fact("Your id", el("span", record.client_request_id, class_="mono")) if record.client_request_id else None,
        _fact("Trace", el("span", record.trace_id, class_="mono")) if record.trace_id else None,
        _fact("Request", el("span", record.request_id, class_="mono")),
        _fact("Receipt", el("a", "Download", href=f"/console/audit/receipts/{record.request_id}")),
    ]
    said = el("p", record.message, class_="notice calm") if record.message else None
    return text(said, el("dl", *facts, class_="facts"))


def _context(record: RequestRecord) -> str:
    context = record.context
    parts = [f"from {enum_word(ContextRecord.Source.Name(context.source), 'SOURCE_')}"]
    parts += [f"{context.messages} earlier messages"] if context.messages else []
    parts += [f"{context.recalled} memories"] if context.recalled else []
    parts += ["a summary"] if context.summarised else []
    left_out = sum(one.count for one in context.left_out)
    parts += [f"{left_out} left out"] if left_out else []
    saved = enum_word(ContextRecord.Saved.Name(context.saved), "SAVED_")
    return ", ".join([*parts, *([f"saved: {saved}"] if context.saved else [])])


def _cache(record: RequestRecord) -> str:
    verdict = enum_word(record_pb2.CacheRecord.Status.Name(record.cache.status), "STATUS_")
    word = "off" if verdict == "unspecified" else verdict
    return f"{word}, saved {money(record.cache.saved_nano_usd)}" if record.cache.saved_nano_usd else word


def _redaction(record: RequestRecord) -> str:
    found = ", ".join(f"{kind} {number}" for kind, number in sorted(record.redaction.kinds.items())) or "none found"
    action = f", {record.redaction.action}" if record.redaction.action else ""
    return f"{found}{action}{', put back into the answer' if record.redaction.restored else ''}"


def _checks(record: RequestRecord) -> str:
    found = record.validation
    quality = f", quality {found.quality:.2f}" if found.HasField("quality") else ""
    against = ", ".join(name for name, status in sorted(found.checks.items()) if status in ("flagged", "failed"))
    return f"{found.status}{quality}{f' ({against})' if against else ''}"


def _route(record: RequestRecord) -> Safe:
    route = record.route
    if not route.reason and not route.candidates:
        return el("p", "No model was looked for: the request was refused before.", class_="soft")
    about = [("profile", route.profile), ("policy", route.policy_version)]
    lines = [el("span", f"{name} ", el("b", value), class_="chip") for name, value in about if value]
    parts: list[Any] = [el("p", why(record), class_="reason"), el("p", *lines, class_="chips") if lines else None]
    if route.candidates:
        headings = (("#", "num"), ("Candidate", ""), ("Score", "num"), *((one.title(), "num") for one in SCORES))
        rows = [_candidate(index, one) for index, one in enumerate(route.candidates, 1)]
        parts.append(table("Candidates", (*headings, ("Verdict", "")), rows))
    return text(*parts)


def _candidate(index: int, one: record_pb2.RouteCandidate) -> Safe:
    scores = [
        cell(name.title(), f"{getattr(one, f'{name}_score'):.3f}", sort=getattr(one, f"{name}_score"), class_="num")
        for name in SCORES
    ]
    shown = bar([("fill", one.score)], f"score {one.score:.3f}") if not one.excluded else None
    return el(
        "tr",
        cell("#", index, sort=index, class_="num"),
        cell("Candidate", el("span", one.model, class_="mono"), el("small", one.provider), sort=one.model),
        cell("Score", f"{one.score:.3f}", shown, sort=one.score, class_="num"),
        *scores,
        cell("Verdict", one.excluded if one.excluded else badge("kept", "good"), sort=one.excluded),
        class_="left-out" if one.excluded else None,
    )


def _used(one: AttemptRecord) -> str:
    buckets = (
        ("input", one.usage.input_tokens),
        ("cached", one.usage.input_cached_tokens),
        ("cache write", one.usage.cache_write_tokens),
        ("cache write for an hour", one.usage.cache_write_1h_tokens),
        ("sound read", one.usage.input_audio_tokens),
        ("sound cached", one.usage.input_audio_cached_tokens),
        ("pictures read", one.usage.input_image_tokens),
        ("output", one.usage.output_tokens),
        ("reasoning", one.usage.reasoning_tokens),
        ("sound made", one.usage.output_audio_tokens),
        ("pictures made", one.usage.output_image_tokens),
        ("seconds of audio", one.usage.audio_seconds),
        ("characters", one.usage.input_characters),
    )
    used = ", ".join(f"{name} {count(value)}" for name, value in buckets if value)
    if one.usage.service_tier:
        used += f", tier {one.usage.service_tier}"
    source = enum_word(usage_pb2.UsageSource.Name(one.usage_source), "USAGE_SOURCE_")
    return f"{used} ({source})" if used and source != "unspecified" else used


def _attempts(record: RequestRecord) -> Safe:
    if not record.attempts:
        return el("p", "Nothing was sent to a provider.", class_="soft")
    rows = []
    for one in record.attempts:
        word = enum_word(error_pb2.ErrorReason.Name(one.reason), "ERROR_REASON_") if one.reason else ""
        ended = badge(word, "bad") if word else badge("ok", "good")
        status = f" HTTP {one.status_code}" if one.status_code else None
        said = el("small", one.message) if one.message else None
        took = elapsed_ms(one.started_at, one.ended_at)
        rows.append(
            el(
                "tr",
                cell("Model", el("span", one.model, class_="mono"), el("small", f"at {one.provider}")),
                cell("Result", ended, status, said),
                cell("Tokens", _used(one) or "–"),
                cell("First token", milliseconds(one.first_token_ms), class_="num"),
                cell("In all", milliseconds(took), class_="num"),
                cell("Cost", money(one.cost_nano_usd), class_="num"),
            )
        )
    headings = (("Model", ""), ("Result", ""), ("Tokens", ""), ("First token", "num"), ("In all", "num"))
    return table("Attempts", (*headings, ("Cost", "num")), rows, sortable=False)


def _time(record: RequestRecord) -> Safe:
    stages = dict(record.stage_ms)
    names = [*(one for one in STAGES if one in stages), *sorted(set(stages) - set(STAGES))]
    whole = max(elapsed_ms(record.started_at, record.ended_at), sum(stages.values()), 0.001)
    rows, before = [], 0.0
    for name in names:
        share = stages[name] / whole
        drawn = bar([("gap", min(before, 0.99)), ("fill", max(share, 0.01))], f"{share:.0%} of the time")
        label = text(name.replace("_", " "), el("small", STAGE_MEANS[name]) if name in STAGE_MEANS else None)
        taken = el("td", milliseconds(stages[name]), class_="num")
        rows.append(el("tr", el("th", label, scope="row"), el("td", drawn), taken))
        before += share
    took = milliseconds(elapsed_ms(record.started_at, record.ended_at))
    rows.append(el("tr", el("th", "in all", scope="row"), el("td"), el("td", el("b", took), class_="num")))
    return el("table", el("caption", "Time by stage", class_="unseen"), el("tbody", *rows), class_="stages")


def _is_fee(name: str) -> bool:
    found = split_bucket(name)
    return found is not None and found.bucket == "request"


def _charge(record: RequestRecord) -> Safe:
    head = el("p", f"Reserved {money(record.reserved_nano_usd)}, charged ", el("b", money(record.cost_nano_usd)), ".")
    lines = [line for one in record.attempts for line in one.price_lines]
    if not lines:
        return text(head, el("p", "No price applied.", class_="soft"))
    rows = [
        el(
            "tr",
            cell("Bucket", line.bucket.replace("_", " ")),
            cell("Amount", count(line.tokens), class_="num"),
            cell("Per million", "–" if _is_fee(line.bucket) else money(line.nano_usd_per_mtok), class_="num"),
            cell("Cost", money(line.cost_nano_usd), class_="num"),
        )
        for line in lines
    ]
    headings = (("Bucket", ""), ("Amount", "num"), ("Per million", "num"), ("Cost", "num"))
    return text(head, table("Charge", headings, rows, sortable=False))
