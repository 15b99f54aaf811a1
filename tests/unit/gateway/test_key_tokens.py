"""The form of API keys, and the document made from the bindings."""

import json
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import MeshError, Reason
from services.gateway import docs_page, key_tokens, openapi, transcoder

LETTERS = st.text(key_tokens.ALPHABET, min_size=1, max_size=1)


@given(st.randoms(use_true_random=False), st.sampled_from(["live", "test", "operator"]))
def test_a_new_token_parses_to_itself(random, environment):
    token = key_tokens.new_token(random.choice, environment)
    parsed = key_tokens.parse(token)
    assert (parsed.environment, len(parsed.lookup_id), len(parsed.secret)) == (environment, 12, 43)
    assert token.startswith(f"{parsed.prefix}_{parsed.secret}_")


@given(st.integers(0, 42), LETTERS)
def test_one_wrong_character_is_noticed_and_never_repeated(place, letter):
    token = key_tokens.new_token(secrets.choice)
    at = len("dac_live_") + 13 + place
    wrong = token[:at] + letter + token[at + 1 :]
    if wrong == token:
        return
    with pytest.raises(MeshError) as caught:
        key_tokens.parse(wrong)
    assert caught.value.reason is Reason.INVALID_CREDENTIAL
    assert wrong[22:65] not in caught.value.message


@given(st.text())
def test_any_text_is_parsed_or_refused_by_name(text):
    try:
        key_tokens.parse(text)
    except MeshError as error:
        assert error.reason is Reason.INVALID_CREDENTIAL


@pytest.mark.parametrize(("secret", "why"), [("abcdefghijklmnop", "16 characters"), ("ab" * 20, "2 distinct")])
def test_a_weak_bootstrap_key_is_refused_with_the_reason(secret, why):
    with pytest.raises(MeshError, match=why) as caught:
        key_tokens.check_strength(f"dac_live_abcdefghijkl_{secret}")
    assert caught.value.reason is Reason.FAILED_PRECONDITION


def test_every_binding_is_documented_and_shown():
    found = transcoder.bindings()
    document = json.loads(json.dumps(openapi.document(found)))
    operations = sum(len(one) for one in document["paths"].values())
    assert operations >= len(found) > 10
    assert {"get", "post"} <= set(document["paths"]["/v1/keys"])
    page = docs_page.page(document)
    assert "/v1/keys/{key_id}" in page and "src=" not in page
