"""`dac explain`: the whole story of one request."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from mesh.cli.client import Client, segment
from mesh.cli.output import (
    AsJson,
    Url,
    aligned,
    clean,
    command,
    elapsed_ms,
    enum_word,
    get,
    local_time,
    milliseconds,
    money,
    needed,
    print_json,
)
from mesh.model_prices import split_bucket

STAGES = ("authenticate", "context", "cache", "route", "reserve", "generate", "embed", "save")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "explain")(explain)


def explain(
    request_id: Annotated[str, typer.Argument(help="The header x-dac-request-id, or a line of `dac logs`.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Tell what happened to a request: route, attempts, cache, charge, time, outcome.

    Example: dac explain 0192f3c4-7b1e-7c3a-9f00-5a6b7c8d9e0f
    """
    answer = Client(url).call("GET", f"/v1/requests/{segment(request_id)}")
    if as_json:
        print_json(answer)
    else:
        print(clean("\n".join(story(answer.get("request") or {}))))


def story(record: dict[str, Any]) -> Iterator[str]:
    """A request's record as lines for people."""
    yield f"Request {record.get('request_id', '?')}"
    yield from _indent(_asked(record))
    yield from _section("Route", _route(record.get("route") or {}))
    yield from _section("Attempts", _attempts(record))
    if record.get("context"):
        yield from _section("Context", _context(record["context"]))
    yield from _section("Cache", _cache(record))
    if record.get("redaction"):
        yield from _section("Private values", _redaction(record["redaction"]))
    if record.get("validation"):
        yield from _section("Checks", _checks(record["validation"]))
    yield from _section("Charge", _charge(record))
    yield from _section("Time", _time(record))
    yield from _section("Outcome", _outcome(record))


def _indent(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" if line else "" for line in lines)


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield ""
    yield title
    yield from _indent(lines)


def _asked(record: dict[str, Any]) -> Iterator[str]:
    how = "streamed" if record.get("stream") else "not streamed"
    if (operation := record.get("operation") or "chat") != "chat":
        how = f"{operation}, streamed" if record.get("stream") else str(operation)
    yield f"asked      {record.get('asked_model') or '?'}, {how}"
    yield f"when       {local_time(record.get('started_at'))}"
    features = record.get("features") or {}
    if features:
        seen = [str(features[name]) for name in ("intent", "language") if features.get(name)]
        seen += [f"about {features['input_tokens_estimated']} tokens"] if features.get("input_tokens_estimated") else []
        seen += [f"needs {' and '.join(needs)}"] if (needs := needed(features)) else []
        yield f"prompt     {', '.join(seen) or 'not looked at'}"
    for name, label in (("thread_id", "thread"), ("client_request_id", "client id"), ("trace_id", "trace")):
        if record.get(name):
            yield f"{label:<10} {record[name]}"


def _score(candidate: dict[str, Any], name: str) -> str:
    return f"{float(candidate.get(name) or 0):.3f}"


def _route(route: dict[str, Any]) -> Iterator[str]:
    if not route:
        yield "no model was looked for"
        return
    yield " ".join(part for part in (route.get("reason"), f"(profile {route.get('profile') or 'none'})") if part)
    if route.get("policy_version"):
        yield f"policy {route['policy_version']}"
    yield from _tried(route)
    rows = [
        [
            str(index),
            str(one.get("model", "")),
            str(one.get("provider", "")),
            *(_score(one, name) for name in SCORES),
            str(one.get("excluded") or "kept"),
        ]
        for index, one in enumerate(route.get("candidates") or [], 1)
    ]
    if rows:
        headings = ("#", "model", "provider", "score", "quality", "latency", "cost", "context", "verdict")
        yield from aligned(headings, rows, right=(0, 3, 4, 5, 6, 7))


def _tried(route: dict[str, Any]) -> Iterator[str]:
    """Its part in experiments."""
    if part := route.get("experiment"):
        refused = "; the tried policy refused it, and the one in force decided" if part.get("refused") else ""
        yield f"experiment {part.get('experiment_id')}: arm {part.get('arm')}, step {part.get('step') or 0}{refused}"
    if shadow := route.get("shadow"):
        chosen = f"would have chosen {shadow['model']}" if shadow.get("model") else "would have refused it"
        yield f"shadow {shadow.get('experiment_id')}: {shadow.get('policy_version')} {chosen}"


SCORES = ("score", "quality_score", "latency_score", "cost_score", "context_score")


def _attempts(record: dict[str, Any]) -> Iterator[str]:
    attempts = record.get("attempts") or []
    if not attempts:
        yield "nothing was sent to a provider"
    for index, one in enumerate(attempts, 1):
        reason = enum_word(one.get("reason"), "ERROR_REASON_")
        ended = "ok" if reason in ("", "unspecified") else f"failed: {reason}"
        status = f", HTTP {one['status_code']}" if one.get("status_code") else ""
        took = milliseconds(elapsed_ms(one.get("started_at"), one.get("ended_at")))
        first = milliseconds(one.get("first_token_ms"))
        who = f"{one.get('model')} at {one.get('provider')}"
        yield f"{index}. {who}: {ended}{status}; first token {first}, in all {took}"
        if one.get("message"):
            yield f"   {one['message']}"
        counts = (one.get("usage") or {}).items()
        used = [f"{name.removesuffix('_tokens')} {value}" for name, value in counts if value not in ("0", 0, "")]
        if used:
            source = enum_word(one.get("usage_source"), "USAGE_SOURCE_") or "unknown"
            yield f"   used: {', '.join(used)} (source: {source})"


def _context(context: dict[str, Any]) -> Iterator[str]:
    """What went along with a turn of a thread, what did not, and what was kept of the turn."""
    went = [enum_word(context.get("source"), "SOURCE_") or "none"]
    for name, word in (("messages", "earlier messages"), ("recalled", "memories"), ("tokens", "tokens")):
        went += [f"{context[name]} {word}"] if int(context.get(name) or 0) else []
    yield ", ".join([*went, *(["a summary"] if context.get("summarised") else [])])
    for one in context.get("left_out") or []:
        yield f"left out: {one.get('count') or '?'} of {one.get('kind')} ({one.get('why')})"
    saved = enum_word(context.get("saved"), "SAVED_")
    if saved not in ("", "unspecified"):
        yield f"saved: {saved}"


def _cache(record: dict[str, Any]) -> Iterator[str]:
    verdict = enum_word(get(record, "cache", "status"), "STATUS_") or "off"
    saved = get(record, "cache", "saved_nano_usd")
    similarity = get(record, "cache", "similarity")
    extra = [f"similarity {float(similarity):.3f}"] if similarity else []
    extra += [f"saved {money(saved)}"] if int(saved or 0) else []
    leader = get(record, "cache", "leader_request_id")
    extra += [f"answered by the call of request {leader}"] if leader else []
    yield ", ".join(["off" if verdict == "unspecified" else verdict, *extra])


def _redaction(redaction: dict[str, Any]) -> Iterator[str]:
    """How many private values of each kind were found, and what was done with them."""
    found = [f"{kind} {count}" for kind, count in sorted((redaction.get("kinds") or {}).items())]
    said = ", ".join(found) or "none found"
    action = f", action {redaction['action']}" if redaction.get("action") else ""
    yield f"{said}{action}{', put back into the answer' if redaction.get('restored') else ''}"


def _checks(validation: dict[str, Any]) -> Iterator[str]:
    """What was found in the answer, and in those that were not given."""
    quality, scores = validation.get("quality"), validation.get("scores") or {}
    said = [str(validation.get("status") or "not_checked")]
    said += [f"quality {quality:.2f}"] if quality is not None else []
    said += [f"action {validation['action']}"] if validation.get("action") else []
    said += [f"checked {validation['mode']}"] if validation.get("mode") else []
    yield ", ".join(said) + (f" ({validation['note']})" if validation.get("note") else "")
    for name, status in sorted((validation.get("checks") or {}).items()):
        score = f", {scores[name]:.2f}" if name in scores else ""
        found = (validation.get("findings") or {}).get(name)
        yield f"{name:<10} {status}{score}{f', {found} findings' if found else ''}"
    answers = validation.get("answers") or []
    for index, one in enumerate(answers if len(answers) > 1 else (), 1):
        judged = f", quality {one['quality']:.2f}" if one.get("quality") is not None else ""
        given = ", given" if one.get("given") else ""
        yield f"answer {index} of {one.get('model')}: {one.get('status')}{judged}{given}"


def _charge(record: dict[str, Any]) -> Iterator[str]:
    yield f"reserved {money(record.get('reserved_nano_usd'))} → charged {money(record.get('cost_nano_usd'))}"
    for one in record.get("attempts") or []:
        rows = [
            [
                str(line.get("bucket", "")),
                str(line.get("tokens") or 0),
                _price(line),
                money(line.get("cost_nano_usd")),
            ]
            for line in one.get("price_lines") or []
        ]
        if rows:
            yield f"{one.get('model')}, price version {one.get('price_version') or '?'}:"
            yield from _indent(iter(aligned(("bucket", "tokens", "price", "cost"), rows, right=(1, 2, 3))))


def _price(line: dict[str, Any]) -> str:
    """As the configuration has it: by the hour, by the million or by the request."""
    nano = int(line.get("nano_usd_per_mtok") or 0)
    found = split_bucket(str(line.get("bucket")))
    bucket = found.bucket if found is not None else ""
    if bucket == "audio_second":
        return f"{money(nano * 3600 // 1_000_000)} an hour"
    return money(nano) + ("" if bucket == "request" else " per million")


def _time(record: dict[str, Any]) -> Iterator[str]:
    stages = record.get("stage_ms") or {}
    for name in [*(one for one in STAGES if one in stages), *sorted(set(stages) - set(STAGES))]:
        yield f"{name:<13} {milliseconds(float(stages[name])):>10}"
    yield f"{'in all':<13} {milliseconds(elapsed_ms(record.get('started_at'), record.get('ended_at'))):>10}"


def _outcome(record: dict[str, Any]) -> Iterator[str]:
    parts = [enum_word(record.get("outcome"), "OUTCOME_") or "unknown"]
    parts += [f"HTTP {record['http_status']}"] if record.get("http_status") else []
    parts += [f"finish reason {record['finish_reason']}"] if record.get("finish_reason") else []
    reason = enum_word(record.get("reason"), "ERROR_REASON_")
    parts += [reason] if reason not in ("", "unspecified") else []
    yield ", ".join(parts)
    if record.get("message"):
        yield str(record["message"])
