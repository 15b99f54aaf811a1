"""The form of API keys: what is made can be read, a typing mistake is found, nothing secret is repeated."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import MeshError, Reason
from services.gateway.identity import key_tokens


@given(st.randoms(use_true_random=False), st.sampled_from(["live", "test", "operator"]))
def test_a_new_token_parses_to_itself(random, environment):
    token = key_tokens.new_token(random.choice, environment)
    parsed = key_tokens.parse(token)
    assert (parsed.environment, len(parsed.lookup_id), len(parsed.secret)) == (environment, 12, 43)
    assert token.startswith(f"{parsed.prefix}_{parsed.secret}_")


@given(st.randoms(use_true_random=False), st.integers(0), st.characters(codec="utf-8"))
def test_one_wrong_character_anywhere_is_noticed_and_never_repeated(random, place, letter):
    token = key_tokens.new_token(random.choice)
    place %= len(token)
    wrong = token[:place] + letter + token[place + 1 :]
    # Without the dash before the checksum a token is one without a checksum: then the database says no.
    if wrong == token or token[place:].count("_") == 1 == token[place : place + 1].count("_"):
        return
    with pytest.raises(MeshError) as caught:
        key_tokens.parse(wrong)
    assert caught.value.reason is Reason.INVALID_CREDENTIAL
    assert wrong[22:65] not in caught.value.message and token[22:65] not in caught.value.message
    assert caught.value.__cause__ is None and caught.value.metadata == {}


@given(st.randoms(use_true_random=False), st.integers(0))
def test_two_swapped_characters_are_noticed(random, place):
    token = key_tokens.new_token(random.choice)
    place %= len(token) - 1
    wrong = token[:place] + token[place + 1] + token[place] + token[place + 2 :]
    if wrong != token and "_" not in token[place : place + 2]:
        with pytest.raises(MeshError):
            key_tokens.parse(wrong)


def test_a_key_without_checksum_is_read_as_it_is():
    parsed = key_tokens.parse(f"dac_live_abcdefghijkl_{'s' * 32}")
    assert (parsed.lookup_id, parsed.secret, parsed.prefix) == ("abcdefghijkl", "s" * 32, "dac_live_abcdefghijkl")


@pytest.mark.parametrize("end", ["\n", " ", "\x00", "x" * 300])
def test_what_follows_a_key_is_not_overlooked(end):
    with pytest.raises(MeshError):
        key_tokens.parse(key_tokens.new_token(secrets.choice) + end)


@given(st.text())
def test_any_text_is_parsed_or_refused_by_name(text):
    try:
        key_tokens.parse(text)
    except MeshError as error:
        assert error.reason is Reason.INVALID_CREDENTIAL


@pytest.mark.parametrize(("secret", "why"), [("abcdefghijklmnop", "16 characters"), ("ab" * 20, "2 distinct")])
def test_a_weak_bootstrap_key_is_refused_with_the_reason(secret, why):
    with pytest.raises(MeshError, match=why) as caught:
        key_tokens.check_strength(f"dac_live_abcdefghijkl_{secret}", "SOME_KEY")
    assert caught.value.reason is Reason.FAILED_PRECONDITION


def test_a_strong_bootstrap_key_of_the_least_length_is_taken():
    assert (
        key_tokens.check_strength(f"dac_live_abcdefghijkl_{'abcdefghijkl' + 'a' * 20}", "SOME_KEY").lookup_id
        == "abcdefghijkl"
    )


@given(st.text(key_tokens.ALPHABET, min_size=16, max_size=60))
def test_a_bootstrap_key_is_taken_exactly_when_it_is_strong_and_never_repeated(secret):
    strong = len(secret) >= 32 and len(set(secret)) >= 12
    try:
        key_tokens.check_strength(f"dac_live_abcdefghijkl_{secret}", "SOME_KEY")
    except MeshError as error:
        assert not strong and secret not in error.message
    else:
        assert strong
