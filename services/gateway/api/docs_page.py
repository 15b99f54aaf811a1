"""The page at /docs: every operation of the OpenAPI document with a curl line, in one self-contained HTML file."""

import html
import json
from collections.abc import Mapping
from typing import Any

_STYLE = """
:root{color-scheme:light dark;--ink:#1a1d21;--soft:#5b6470;--line:#e3e6ea;--back:#fff;--code:#f5f6f8;--accent:#0b62d6}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#9aa3ae;--line:#2c3138;--back:#14171a;--code:#1e2227;--accent:#6aa9ff}}
body{font:15px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:60rem;margin:0 auto;padding:2rem 1rem}
h1{margin:0 0 .2rem}p.lead{color:var(--soft);margin:.2rem 0 1.2rem}
input{width:100%;font:inherit;padding:.55rem .7rem;border:1px solid var(--line);border-radius:.5rem;background:var(--code);color:inherit;box-sizing:border-box}
h2{margin:2rem 0 .4rem;text-transform:capitalize;font-size:1.1rem}
details{border-top:1px solid var(--line);padding:.55rem 0}summary{cursor:pointer;display:flex;gap:.7rem;align-items:baseline}
.verb{font:600 12px ui-monospace,monospace;color:var(--accent);width:4rem;flex:none}.path{font-family:ui-monospace,monospace;overflow-wrap:anywhere}
.sum{color:var(--soft);margin-left:auto;text-align:right}pre{background:var(--code);padding:.7rem;border-radius:.5rem;overflow-x:auto}
.none{display:none;color:var(--soft)}@media(max-width:40rem){.sum{display:none}}
"""
_SCRIPT = """
const box=document.querySelector('input'),none=document.querySelector('.none');
box.addEventListener('input',()=>{const q=box.value.toLowerCase();let shown=0;
for(const s of document.querySelectorAll('section')){let any=false;
for(const d of s.querySelectorAll('details')){const hit=d.dataset.text.includes(q);d.hidden=!hit;any=any||hit;shown+=hit}s.hidden=!any}
none.style.display=shown?'none':'block'});
"""


def example(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int = 0) -> Any:
    """A small example value of a schema."""
    if "$ref" in schema:
        return example(document, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], depth + 1)
    if "enum" in schema:
        return schema["enum"][min(1, len(schema["enum"]) - 1)]
    kind = schema.get("type")
    if kind == "object" and depth < 3:
        return {name: example(document, one, depth + 1) for name, one in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(document, schema["items"], depth + 1)] if depth < 3 else []
    if kind == "string":
        return {"int64": "0", "date-time": "2026-01-31T12:00:00Z"}.get(schema.get("format", ""), "…")
    return {"boolean": False, "integer": 0, "number": 0}.get(str(kind))


def curl(document: Mapping[str, Any], verb: str, path: str, operation: Mapping[str, Any]) -> str:
    """A line to paste."""
    parts = [f"curl -X {verb.upper()}" if verb != "get" else "curl", f"http://127.0.0.1:8000{path}"]
    if operation.get("security"):
        parts.append('-H "Authorization: Bearer $DAC_API_KEY"')
    body = operation.get("requestBody")
    if body and "multipart/form-data" in body["content"]:
        parts += ["-F model=openai/gpt-4o-mini-transcribe", "-F file=@speech.mp3"]
    elif body:
        hello = {"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]}
        if path in ("/v1/chat/completions", "/v1/messages/count_tokens"):
            value: Any = hello
        elif path == "/v1/messages":
            value = {**hello, "max_tokens": 100}
        elif path == "/v1/responses":
            value = {"model": "auto", "input": "Hello!"}
        else:
            value = example(document, body["content"]["application/json"]["schema"])
        parts.append("-H 'Content-Type: application/json'")
        parts.append(f"-d '{json.dumps(value, ensure_ascii=False)}'")
    return " \\\n  ".join(parts)


def page(document: Mapping[str, Any]) -> str:
    """The whole page."""
    groups: dict[str, list[str]] = {}
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            text = html.escape(f"{verb} {path} {operation.get('description', '')}".lower(), quote=True)
            described = html.escape(operation.get("description", "") or operation["summary"])
            groups.setdefault(operation["tags"][0], []).append(
                f'<details data-text="{text}"><summary><span class="verb">{verb.upper()}</span>'
                f'<span class="path">{html.escape(path)}</span><span class="sum">{html.escape(operation["summary"])}</span>'
                f"</summary><p>{described}</p><pre>{html.escape(curl(document, verb, path, operation))}</pre></details>"
            )
    order = sorted(groups, key=lambda name: (name != "chat", name == "edge", name))
    sections = "".join(f"<section><h2>{html.escape(name)}</h2>{''.join(groups[name])}</section>" for name in order)
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        '<link rel="icon" href="/console/static/icon.svg" type="image/svg+xml">'
        f"<title>DAC API</title><style>{_STYLE}</style><h1>DAC API</h1>"
        f'<p class="lead">{html.escape(info["description"])} Version {html.escape(info["version"])}, '
        'also as <a href="/openapi.json">OpenAPI</a>.</p>'
        '<input type="search" placeholder="Filter: keys, budgets, requests …" aria-label="Filter operations">'
        f'<p class="none">Nothing matches.</p>{sections}<script>{_SCRIPT}</script></html>'
    )
