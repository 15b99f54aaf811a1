"""docs/api.md, from the descriptors that make /openapi.json: `python -m services.gateway.api.api_page docs/api.md`."""

import json
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mesh.permissions import permission_of
from services.gateway.api import docs_page, openapi
from services.gateway.api.api_examples import BODIES, MARKS, NAMES, QUERIES
from services.gateway.api.http_forms import Binding, bindings
from services.gateway.api.keyed_calls import takes_key

INTRODUCTION = """# API reference

Made by `python -m services.gateway.api.api_page docs/api.md` from the protos and `mesh/permissions.py`: edit those, not
this page. A running DAC shows the same at `/docs`, and for programs at `/openapi.json`.

- **Address**: `http://127.0.0.1:8000` unless you changed it ([configuration](configuration.md#gateway)).
- **Key**: `Authorization: Bearer dac_…`. Scopes: `chat` asks models, `read` reads, `admin` implies `read`, `operator`
  implies all. "any key" means that no scope is needed.
- **JSON**: field names as below; 64-bit integers are text, enums are their names, times are RFC 3339. Money is whole
  nano-USD: `"5000000000"` is five dollars. A field that DAC does not know is refused.
- **Pages**: `page_size` and `page_token` for lists; `next_page_token` is empty on the last page.
- **Failures**: OpenAI's error object; `code` is the reason. See [troubleshooting](troubleshooting.md).
- **Sent twice**: calls that take an `Idempotency-Key` do what they do once
  ([changes that are sent twice](gateway.md#changes-that-are-sent-twice)).
- **gRPC**: the gateway's gRPC port serves `dac.gateway.v1.ChatService/Chat` with the key as `authorization` metadata.
"""

GROUPS: Mapping[str, tuple[str, str]] = {
    "chat": ("Chat", "gateway.md#chat"),
    "gateway": ("Keys, organisations, teams, projects and users", "gateway.md"),
    "budget": ("Budgets", "budget.md"),
    "memory": ("Threads and memories", "memory.md"),
    "audit": ("Records", "audit.md"),
    "router": ("Routing", "router.md"),
    "provider": ("Providers", "provider.md"),
    "edge": ("Models, health and pages", "gateway.md"),
}
"""The page's sections, by the tag of an operation: heading and the page that explains more."""

THREAD_OPERATIONS = tuple(
    f"gateway.{name}{form}" for name in ("turn", "streamTurn", "regenerate") for form in ("", ".2")
)
"""What asks a model below a thread."""

NOTES: Mapping[str, str] = {
    "/v1/chat/completions": "The answer's form is OpenAI's. Headers `x-dac-model`, `x-dac-route`, `x-dac-cost-usd`, "
    "`x-request-id` and `x-dac-request-id` tell what answered, why, and for how much. The request may say in headers "
    "whom it is for and what its record is marked with: `x-dac-team`, `x-dac-project`, `x-dac-tags` "
    "([teams](teams.md)).",
    "/v1/messages": "The answer's form is Anthropic's, also of failures. The key may stand in `x-api-key` instead. "
    "Headers as for a chat, and `request-id`.",
    "/v1/responses": "The answer's form is that of OpenAI's responses API. Headers as for a chat. DAC stores none: "
    "`background`, and fetching, deleting or compacting a response are not offered.",
    "/v1/messages/count_tokens": "Nothing is reserved, charged or recorded.",
    "/v1/embeddings": "The answer's form is OpenAI's. Headers as for chats. The models: "
    "`GET /v1/models?capability=embeddings`.",
    "/v1/audio/transcriptions": "Headers as for chats; see [audio](audio.md). The models: "
    "`GET /v1/models?capability=transcription`.",
    "/v1/audio/translations": "The models are those of transcriptions.",
    "/v1/audio/speech": "Headers as for chats, without the cost, which is not known when the sound begins. The models: "
    "`GET /v1/models?capability=speech`.",
    "/v1/models": "Query: `provider`, `capability` (`tools`, `images`, `json`, `embeddings`, `transcription`, "
    "`speech`), `min_context` (tokens), `max_price` (dollars per million output tokens), `include_unavailable` (`1`), "
    "`order_by` (as for `/v2/models`). "
    "Beside OpenAI's fields each model has `context_tokens`, `capabilities`, `quality`, `price`, `available` and "
    "`class`. Aliases are listed as models of their own, with `alias_of`. A client that sends `anthropic-version` gets "
    "Anthropic's form, without those that embed, hear or speak, and may send `limit`, `after_id` and `before_id`; its "
    "key may stand in `x-api-key`.",
    "/v1/models/{model_id}": "The same fields for one model.",
    "/health": "Always 200. `status` is `healthy` or `degraded`, `down` names the parts that are not up, `parts` has "
    "each part's state and latency.",
    "/ready": "200 or 503; `missing` names what is not there.",
    "/live": "200 while the process answers.",
    "/info": "Name, version, uptime and services.",
    "/metrics": "See [telemetry](telemetry.md#metrics-for-prometheus). With `gateway.metrics_public: false` any key is "
    "needed.",
    "/docs": "One HTML page that loads nothing from elsewhere.",
    "/openapi.json": "OpenAPI 3.1.",
}
"""What the document does not say about the paths whose wire form is somebody else's."""

PAGING: Mapping[str, str] = {
    "page_size": "How many at most; 0 or unset = the usual number.",
    "page_token": "`next_page_token` of the page before, with the same filters.",
    "next_page_token": "Empty on the last page.",
}
"""What the fields of every list mean, where the proto does not say."""

_VERBS = ("post", "put", "patch", "get", "delete")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _row(*cells: str) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _type_name(reference: str) -> str:
    return reference.rsplit("/", 1)[1].rsplit(".", 1)[1]


def type_words(schema: Mapping[str, Any]) -> str:
    """What a field holds, in words; own types are links to their table."""
    if "$ref" in schema:
        name = _type_name(schema["$ref"])
        return f"[{name}](#type-{name.lower()})"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{one}`" for one in schema["enum"] if not one.endswith("_UNSPECIFIED"))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(type_words({"type": one, "items": {"type": "object"}}) for one in kind)
    if kind == "array":
        return f"list of {type_words(schema['items'])}"
    if kind == "object":
        return f"map to {type_words(schema['additionalProperties'])}" if "additionalProperties" in schema else "object"
    words = {"int64": "int64 as text", "uint64": "uint64 as text", "date-time": "time", "byte": "base64"}
    return words.get(schema.get("format", "")) or {"string": "text", "boolean": "true or false"}.get(
        str(kind), str(kind)
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table; its last column is left out when it is empty."""
    width = len(heads) if any(row[-1] for row in rows) else len(heads) - 1
    yield _row(*heads[:width])
    yield _row(*["---"] * width)
    for row in rows:
        yield _row(*row[:width])
    yield ""


def _meaning(name: str, schema: Mapping[str, Any]) -> str:
    return schema.get("description") or PAGING.get(name, "")


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    if not schema.get("properties"):
        yield "No fields.\n"
        return
    required = schema.get("required", ())
    rows = [
        (f"`{name}`", type_words(field), ("Required. " if name in required else "") + _meaning(name, field))
        for name, field in schema["properties"].items()
    ]
    yield from _table(("field", "type", "meaning"), rows)


class Page:
    """Writes the page from an OpenAPI document and the bindings it was made from."""

    def __init__(self, document: Mapping[str, Any], bindings: Sequence[Binding]) -> None:
        self._document = document
        self._schemas: Mapping[str, Any] = document["components"]["schemas"]
        # A request that another message holds is a type like any other, e.g. in a batch.
        self._held = {
            held["$ref"].rsplit("/", 1)[1]
            for schema in self._schemas.values()
            for field in schema.get("properties", {}).values()
            for held in (field, field.get("items", {}), field.get("additionalProperties", {}))
            if isinstance(held, Mapping) and "$ref" in held
        }
        self._bindings = {(one.verb.lower(), one.template.replace("=**", "")): one for one in bindings}

    def lines(self) -> Iterator[str]:
        """The page, line by line."""
        yield INTRODUCTION
        operations = self._operations()
        for tag, (heading, more) in GROUPS.items():
            yield f"## {heading}\n\nMore: [{more.partition('#')[0].removesuffix('.md')}]({more}).\n"
            for verb, path, operation in operations.pop(tag):
                yield from self._operation(verb, path, operation)
        if operations:
            raise SystemExit(
                f"these services have no section in services/gateway/api/api_page.py: {', '.join(operations)}"
            )
        yield "## Types\n"
        for name, schema in sorted(self._schemas.items(), key=lambda item: item[0].rsplit(".", 1)[1]):
            if not name.endswith(("Request", "Response")) or name in self._held:
                yield f"### Type {name.rsplit('.', 1)[1]}\n"
                if schema.get("description"):
                    yield schema["description"] + "\n"
                yield from _fields(schema)

    def _operations(self) -> dict[str, list[tuple[str, str, Mapping[str, Any]]]]:
        found: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
        for path, verbs in self._document["paths"].items():
            for verb, operation in verbs.items():
                found.setdefault(operation["tags"][0], []).append((verb, path, operation))
        for operations in found.values():
            # What makes a thing comes first, what removes it last: the examples can be run in this order.
            operations.sort(key=lambda one: (one[0] == "delete", one[1].count("{"), one[1], _VERBS.index(one[0])))
        return found

    def _operation(self, verb: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
        yield f"### {verb.upper()} {path}\n"
        text = operation.get("description") or operation["summary"]
        yield text.rstrip(".") + ".\n"
        if path in NOTES:
            yield NOTES[path] + "\n"
        yield self._scope(verb, path, operation) + "\n"
        yield from self._parameters(operation)
        if "requestBody" in operation:
            ((kind, content),) = operation["requestBody"]["content"].items()
            schema = self._resolved(content["schema"])
            yield "Body:\n" if kind == "application/json" else f"Body, as {kind}:\n"
            yield from _fields(schema)
        yield from self._answer(operation)
        yield from self._example(verb, path, operation)

    def _scope(self, verb: str, path: str, operation: Mapping[str, Any]) -> str:
        binding = self._bindings.get((verb, path))
        if binding is None:
            rpc = ""
            needed = "any key" if operation.get("security") else "none, also without a key"
            if path == "/v1/embeddings" or path.startswith("/v1/audio/"):
                needed = "`chat`"
            if operation.get("operationId") in ("gateway.taskChat", *THREAD_OPERATIONS):
                needed = "`chat`"
            if path == "/v1/chat/completions":
                needed, rpc = "`chat`", "; the same by gRPC: `ChatService.Chat`"
            elif path in ("/v1/messages", "/v1/responses"):
                needed = "`chat`"
        else:
            scope = _scope_of(binding)
            needed = f"`{scope}`" if scope else "any key"
            rpc = f"; RPC `{binding.method.containing_service.name}.{binding.method.name}`"
            rpc += "; takes an `Idempotency-Key`" if takes_key(binding) else ""
        return f"Scope: {needed}{rpc}."

    def _parameters(self, operation: Mapping[str, Any]) -> Iterator[str]:
        rows = [
            (f"`{one['name']}`", one["in"], type_words(one["schema"]), _meaning(one["name"], one["schema"]))
            for one in operation.get("parameters", ())
            if one["in"] != "header"
        ]
        if rows:
            yield from _table(("parameter", "where", "type", "meaning"), rows)

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" in schema:
            found: Mapping[str, Any] = self._schemas[schema["$ref"].rsplit("/", 1)[1]]
            return found
        return schema

    def _answer(self, operation: Mapping[str, Any]) -> Iterator[str]:
        for kind, content in operation["responses"]["200"].get("content", {}).items():
            if "schema" in content:
                yield "Answer:\n" if kind == "application/json" else "Answer, one server-sent event for each:\n"
                yield from _fields(self._resolved(content["schema"]))

    def _example(self, verb: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
        identity = operation.get("operationId", "")
        names = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"]
        mark = MARKS.get(identity)
        if not mark and any(name not in NAMES for name in names):
            mark = f"needs a {names[0]} of yours"
        if mark:
            yield f"<!-- not run: {mark} -->"
        line = docs_page.curl(self._document, verb, path, operation).replace(" \\\n  http", " http", 1)
        shown = path
        for name in names:
            line, shown = (one.replace(f"{{{name}}}", NAMES.get(name, f"{name.upper()}")) for one in (line, shown))
        if identity in QUERIES:
            head, mark, tail = line.partition(shown)
            start = head.rindex("http")
            line = f"{head[:start]}'{head[start:]}{mark}?{QUERIES[identity]}'{tail}"
        binding = self._bindings.get((verb, path))
        if binding is not None and _scope_of(binding) == "operator":
            line = line.replace("$DAC_API_KEY", "$(cat data/secrets/operator.token)")
        if identity in BODIES:
            head, _, _ = line.partition(" \\\n  -d '")
            line = f"{head} \\\n  -d '{json.dumps(BODIES[identity], ensure_ascii=False)}'"
        yield f"```sh\n{line}\n```\n"


def _scope_of(binding: Binding) -> Any:
    """The scope that a form needs: what is everybody's is the operator's."""
    return "operator" if "/providers/{provider}/" in binding.template else permission_of(binding.rpc)


def page() -> str:
    """The whole page."""
    found = bindings()
    return "\n".join(Page(openapi.document(found), found).lines()).rstrip() + "\n"


def main(arguments: Sequence[str]) -> int:
    """Writes the page; with --check says whether it is fresh."""
    check = "--check" in arguments
    names = [one for one in arguments if one != "--check"]
    if len(names) != 1:
        print("usage: python -m services.gateway.api.api_page FILE [--check]", file=sys.stderr)
        return 2
    file = pathlib.Path(names[0])
    if check:
        if file.exists() and file.read_text(encoding="utf-8") == page():
            return 0
        print(f"{file} is stale: run python -m services.gateway.api.api_page {file}", file=sys.stderr)
        return 1
    file.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
