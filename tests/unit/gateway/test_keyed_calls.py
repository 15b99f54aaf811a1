"""Idempotency-Key: which RPCs take one, and what a header may say."""

from __future__ import annotations

import pytest

from mesh.errors import MeshError, Reason
from mesh.permissions import PERMISSIONS
from services.gateway.api.http_forms import bindings
from services.gateway.api.keyed_calls import CHANGES_NOTHING, OWN_REQUEST_ID, parsed, takes_key
from services.gateway.edge.failures import STATUS
from services.gateway.idempotency.requests import REFUSED, asked_with, read_key

TAKING = {binding.rpc: binding for binding in bindings() if takes_key(binding)}
ANOTHERS_REQUEST_ID = {
    "/dac.budget.v1.BudgetService/Adjust",
    "/dac.memory.v1.CacheService/ReportCacheFeedback",
    "/dac.router.v1.LearningService/SubmitFeedback",
}
"""RPCs whose request_id names the request that they are about."""


def test_what_changes_something_takes_a_key_and_what_reads_does_not():
    names = {rpc.rpartition("/")[2] for rpc in TAKING}
    assert names > {"CreateApiKey", "RevokeApiKey", "UpdatePolicy", "DeleteBudget", "SetPrice", "CreateThread", "Erase"}
    assert not names & {"Recall", "SearchVectors", "SearchMessages", "Route", "Redact", "ListApiKeys", "FollowRequests"}
    assert {binding.rpc for binding in bindings()} >= CHANGES_NOTHING and set(PERMISSIONS) >= CHANGES_NOTHING


def test_every_request_id_is_either_the_callers_own_or_names_another_request():
    with_id = {rpc for rpc, one in TAKING.items() if "request_id" in one.method.input_type.fields_by_name}
    assert with_id == OWN_REQUEST_ID | ANOTHERS_REQUEST_ID


def test_no_failure_that_leaves_the_outcome_open_frees_a_key():
    assert {STATUS[reason] for reason in REFUSED} <= {400, 401, 403, 404, 409, 413, 429}
    assert not REFUSED & {Reason.UNAVAILABLE, Reason.DEADLINE_EXCEEDED, Reason.CANCELLED, Reason.INTERNAL}


@pytest.mark.parametrize(("given", "key"), [("a", "a"), (' "8e03978e-40d5" ', "8e03978e-40d5"), ('"', '"')])
def test_a_key_may_stand_in_quotes(given, key):
    assert read_key([given]) == key


@pytest.mark.parametrize("given", [["a", "a"], [" "], ['""'], ["x" * 256], ["ä"], ["a\tb"]])
def test_a_header_that_is_no_key_is_refused(given):
    with pytest.raises(MeshError) as refused:
        read_key(given)
    assert (refused.value.reason, refused.value.metadata) == (Reason.INVALID_REQUEST, {"field": "idempotency-key"})


def test_requests_differ_by_what_they_say_and_nothing_of_it_is_kept():
    first = asked_with("key-1", "o", "c", "/a/B", b"hunter2")
    assert first == asked_with("key-1", "o", "c", "/a/B", b"hunter2")
    others = [asked_with("key-1", "o", "c", *one) for one in (("/a/B", b"hunter3"), ("/a/C", b"hunter2"))]
    assert len({first.fingerprint, *(one.fingerprint for one in others)}) == 3
    # Whoever reads the table and guesses the body cannot test the guess without the key.
    assert asked_with("key-2", "o", "c", "/a/B", b"hunter2").fingerprint != first.fingerprint
    assert b"key-1" not in first.key_hash and len(first.key_hash) == len(first.fingerprint) == 32


def test_bytes_that_are_no_message_are_the_callers_mistake():
    binding = TAKING["/dac.gateway.v1.IdentityService/CreateApiKey"]
    with pytest.raises(MeshError, match="This is no CreateApiKeyRequest"):
        parsed(binding, b"\xff\xff")
