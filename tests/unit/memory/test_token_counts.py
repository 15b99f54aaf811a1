"""Whose vocabulary counts a context's tokens, and that the estimate stands in wherever none does."""

import sys
import types

import pytest

from mesh.tokens import estimate_tokens
from services.memory.contexts import token_counts
from services.memory.contexts.context import Budget, assemble, new_piece, sorted_out
from services.memory.contexts.token_counts import ESTIMATE, LONGEST_CHARS, Counting, Tokenizers, encoding_of
from services.memory.conversations.window import Message


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("openai/gpt-4o-mini", "o200k_base"),
        ("openrouter/openai/gpt-4.1", "o200k_base"),
        ("azure/GPT-5-nano", "o200k_base"),
        ("openai/o3-mini", "o200k_base"),
        ("local/gpt-oss-20b", "o200k_base"),
        ("openai/gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("openai/gpt-40", ""),
        ("claude/sonnet", ""),
        ("local/o200", ""),
        ("", ""),
    ],
)
def test_a_models_vocabulary_is_known_by_its_name(model, encoding):
    assert encoding_of(model) == encoding


def test_without_the_package_the_estimate_counts(monkeypatch):
    monkeypatch.setattr(token_counts, "PACKAGE", "no_such_package_here")
    tokenizers = Tokenizers()
    assert tokenizers.of("openai/gpt-4o") is ESTIMATE
    tokenizers.wait()
    assert tokenizers.of("openai/gpt-4o") is ESTIMATE is tokenizers.of("claude/sonnet")


def test_where_none_are_wanted_nothing_is_loaded():
    tokenizers = Tokenizers(wanted=False)
    assert tokenizers.of("openai/gpt-4o") is ESTIMATE
    tokenizers.wait()
    assert tokenizers.of("openai/gpt-4o") is ESTIMATE


def words(name):
    return types.SimpleNamespace(encode_ordinary=str.split)


def test_with_the_package_its_vocabulary_counts_and_long_texts_are_estimated(monkeypatch):
    monkeypatch.setitem(sys.modules, "of_words", types.SimpleNamespace(get_encoding=words))
    monkeypatch.setattr(token_counts, "PACKAGE", "of_words")
    tokenizers = Tokenizers()
    tokenizers.of("openai/gpt-4o")
    tokenizers.wait()
    counting = tokenizers.of("openai/gpt-4o")
    assert counting.name == "o200k_base" and counting.count("one two three") == 3
    assert tokenizers.of("openai/gpt-4").name == "cl100k_base" and tokenizers.of("claude/sonnet") is ESTIMATE
    assert counting.count("a " * LONGEST_CHARS) == estimate_tokens(2 * LONGEST_CHARS)
    assert counting.count("a lone \ud800 half") == 4


def said(number, text, openai_json=""):
    return Message(f"m{number}", "t", "user", text, openai_json, 100, "r", "", number)


def test_a_window_is_counted_anew_from_its_end_as_far_as_it_matters():
    counting = Counting("words", lambda text: len(text.split()))
    messages = [said(number, "one two three") for number in range(10)]
    assert [one.tokens_estimated for one in counting.recounted(messages, 0)] == [3] * 10
    counted = [one.tokens_estimated for one in counting.recounted(messages, 9)]
    assert counted == [100] * 7 + [3] * 3
    assert counting.recounted([said(1, "x", '{"role":"user"}')], 0)[0].tokens_estimated == 100
    budget = Budget(40, 100, 0.3, 2000, counting)
    news = [new_piece("user", "four words are here", "", 0, counting)]
    context = assemble(sorted_out(counting.recounted(messages, 40), news), news, budget)
    assert len(context.pieces) == 5 and context.tokens == 4 * 7 + 8, "by the estimate none would fit"


def test_the_installed_package_counts_as_its_vocabulary_does():
    tokenizers = Tokenizers()
    tokenizers.of("openai/gpt-4o")
    tokenizers.wait()
    counting = tokenizers.of("openai/gpt-4o")
    assert counting.name == "o200k_base" and counting.count("Hello, world!") == 4
    assert counting.count("<|endoftext|>") > 1, "what looks like a control token is text"
