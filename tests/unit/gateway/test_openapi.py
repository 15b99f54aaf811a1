"""The OpenAPI document and the page made of it: complete, resolvable, self-contained."""

from __future__ import annotations

import json
import re

import pytest

from services.gateway.api import docs_page, http_forms, openapi

BINDINGS = http_forms.bindings()


@pytest.fixture(scope="module")
def document():
    return json.loads(json.dumps(openapi.document(BINDINGS)))


def operations(document):
    return [one for verbs in document["paths"].values() for one in verbs.values()]


def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def test_every_binding_is_in_a_document_of_version_3_1(document):
    assert document["openapi"].startswith("3.1.")
    for binding in BINDINGS:
        operation = document["paths"][binding.template.replace("=**", "")][binding.verb.lower()]
        assert operation["summary"], f"{binding.rpc} has no comment"
        assert operation["security"] == [{"key": []}]
        assert ("requestBody" in operation) == binding.has_body
    assert "post" in document["paths"]["/v1/chat/completions"]


def test_operation_ids_are_unique(document):
    ids = [one["operationId"] for one in operations(document) if "operationId" in one]
    assert len(ids) == len(set(ids)) >= len(BINDINGS)


def test_every_reference_resolves(document):
    found = set(references(document))
    assert found
    for reference in found:
        value = document
        for part in reference.removeprefix("#/").split("/"):
            value = value[part]
        assert value["type"] == "object"


def test_every_path_parameter_is_declared(document):
    for path, verbs in document["paths"].items():
        for operation in verbs.values():
            declared = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
            assert declared == set(re.findall(r"\{([^}]+)\}", path))


def test_every_scalar_filter_of_a_list_is_a_query_parameter(document):
    names = {one["name"] for one in document["paths"]["/v1/requests"]["get"]["parameters"]}
    filters = {"model", "outcome", "actor", "operation", "started_after", "started_before"}
    assert names == {"page_size", "page_token"} | filters


def test_numbers_and_enums_are_described_as_they_are_sent(document):
    budget = document["components"]["schemas"]["budget.v1.Budget"]["properties"]
    assert (budget["limit_nano_usd"]["type"], budget["limit_nano_usd"]["format"]) == ("string", "int64")
    assert "WINDOW_DAY" in budget["window"]["enum"] and budget["resets_at"]["format"] == "date-time"


def test_the_page_shows_every_operation_and_needs_nothing_from_outside(document):
    page = docs_page.page(document)
    for path, verbs in document["paths"].items():
        assert page.count(f'<span class="path">{path}</span>') == len(verbs)
    assert not re.search(r"""(src|action)\s*=|@import|url\(|<iframe""", page)
    assert set(re.findall(r'href="([^"]*)"', page)) == {"/openapi.json", "/console/static/icon.svg"}
    assert set(re.findall(r"https?://[^/\s\"'&<]+", page)) <= {"http://127.0.0.1:8000"}


def test_texts_of_protos_cannot_break_out_of_the_page(document):
    evil = {"get": {"summary": "<script>alert(1)</script>", "tags": ["<b>"], "description": '"><img onerror=x>'}}
    page = docs_page.page({**document, "paths": {"/<x>": evil}})
    assert "<script>alert" not in page and "<img" not in page and "<b>" not in page


def test_an_example_of_every_schema_can_be_made(document):
    for name in document["components"]["schemas"]:
        json.dumps(docs_page.example(document, {"$ref": f"#/components/schemas/{name}"}))
