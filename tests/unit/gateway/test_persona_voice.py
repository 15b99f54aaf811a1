"""Claims of who speaks are put in the organisation's name; all else stays; however a text is cut."""

import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.persona.claims import vocabulary
from services.gateway.persona.voice import MOST_CHARS, Voice, rewrite

CLAIMS = [
    ("Sorry, as an AI language model, I cannot.", "Sorry, as the AI assistant Acme, I cannot."),
    ("As an AI language model developed by OpenAI, I can't.", "As the AI assistant Acme, I can't."),
    ("As an AI, I don't know.", "As the AI assistant Acme, I don't know."),
    ("As an AI language model, it is not ethical to lie.", "As the AI assistant Acme, it is not ethical to lie."),
    ("It is beyond my abilities as a language model.", "It is beyond my abilities as the AI assistant Acme."),
    ("I, as an AI language model, cannot.", "I, as the AI assistant Acme, cannot."),
    ("I am an AI language model and do not see.", "I am the AI assistant Acme and do not see."),
    ("I am ChatGPT.", "I am Acme."),
    ("I am **ChatGPT**, a model.", "I am **Acme**, a model."),
    ("I'm Claude, made by Anthropic.", "I'm Acme."),
    ("I'm Claude, an AI made by Anthropic to help.", "I'm Acme, an AI assistant made to help."),
    ("I am GPT-4, based on the GPT-4 architecture. So", "I am Acme. So"),
    ("I am ChatGPT, a language model trained by OpenAI, based on GPT-4. So", "I am Acme, an AI assistant. So"),
    ("My name is Gemini.", "My name is Acme."),
    ("You can call me Claude.", "You can call me Acme."),
    ("I was developed by Google DeepMind.", "I was provided by Acme."),
    ("My creator is OpenAI.", "My creator is Acme."),
    ("OpenAI trained me.", "Acme provided me."),
    ("I'm powered by GPT-4o.", "I'm the AI assistant Acme."),
]
OTHERS = [
    "ChatGPT, as an AI language model, can write.",
    "As an AI language model, GPT-3 can write.",
    "As an AI language model, it can write.",
    "As an AI researcher, I read papers.",
    "As a virtual assistant, I have kept calendars for years.",
    "Use Siri as an AI assistant.",
    "An AI language model developed by OpenAI is what they use.",
    "I am Claude Monet.",
    "I'm Claude, a French teacher.",
    "I am a model citizen.",
    "I was trained by my uncle.",
    "OpenAI was founded in 2015.",
    'He wrote "I am ChatGPT." and left.',
    "He wrote “I am ChatGPT.” and left.",
    "The words 'I am ChatGPT' are false.",
    "Say `I am ChatGPT` there.",
    "```\nI am ChatGPT.\n```\n",
    "~~~\nI am ChatGPT.\n~~~\n",
    "    I am ChatGPT.\n",
    "> I am ChatGPT.\n",
    '{"who": "I am \\"it\\", I am ChatGPT."}',
    '[\n {"who": "I am ChatGPT."}]',
    "https://example.com/I-am-ChatGPT",
]


def said(pieces):
    voice = Voice("Acme")
    shown = "".join([*[voice.feed(piece) for piece in pieces], voice.rest()])
    return shown, voice.rewritten


def said_unread(pieces):
    """The same where pieces that need not be read are let pass as JSON has them."""
    voice = Voice("Acme")
    shown = [piece if voice.passes(msgspec.json.encode(piece)[1:-1]) else voice.feed(piece) for piece in pieces]
    return "".join([*shown, voice.rest()]), voice.rewritten


@pytest.mark.parametrize(("text", "wanted"), CLAIMS)
def test_a_claim_becomes_the_name(text, wanted):
    assert rewrite(text, "Acme") == (wanted, 1)
    assert said(text) == said_unread(text) == (wanted, 1)


@pytest.mark.parametrize("text", OTHERS)
def test_what_is_no_claim_stays(text):
    assert rewrite(text, "Acme") == (text, 0)
    assert said(text) == said_unread(text) == (text, 0)


def test_behind_code_and_quotations_the_model_speaks_again():
    for before in ("```\nx\n```\n", "`x` ", '"x" ', "> x\n", "    x\n", "“x” ", "'X' "):
        assert rewrite(before + "I am ChatGPT.", "Acme") == (before + "I am Acme.", 1)


def test_an_ai_is_never_denied():
    for text in ("I am an AI.", "Yes, I'm an AI language model.", "No, I am an AI assistant made by OpenAI."):
        assert "AI assistant" in rewrite(text, "Acme")[0]


def test_text_waits_only_inside_what_may_be_a_claim():
    voice = Voice("Acme")
    assert voice.feed("Well, it is so. As") == "Well, it is so. "
    assert voice.feed(" a") == "" and voice.holds
    assert voice.feed(" rule, ") == "As a rule, " and not voice.holds
    assert voice.feed("I am ") == "" and voice.feed("glad") == "I am glad"
    assert voice.feed(" that I am Chat") == " that " and voice.feed("ty") == "I am Chatty"


words = st.sampled_from([*sorted(vocabulary()), "glad", "café", "日本"])
marks = st.sampled_from(
    [" ", " ", " ", ", ", ". ", "\n", "\n\n", "'", "’", "`", "```", '"', "**", "“", "”", ">", "    "]
)
heads = st.sampled_from([text for text, _ in CLAIMS] + OTHERS + ["As an ", "I am ", "I'm ", "My name is ", "{"])
texts = st.lists(st.one_of(words, marks, marks, heads), max_size=25).map("".join)


@settings(max_examples=300, deadline=None)
@given(texts, st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_however_it_is_cut_the_answer_is_the_same(text, sizes):
    pieces, at, turn = [], 0, 0
    while at < len(text):
        pieces.append(text[at : at + sizes[turn % len(sizes)]])
        at, turn = at + len(pieces[-1]), turn + 1
    assert said(pieces) == said_unread(pieces) == rewrite(text, "Acme")


@settings(max_examples=100, deadline=None)
@given(texts)
def test_fenced_code_and_json_stay_byte_for_byte(text):
    fenced = "````\n" + text.replace("`", "") + "\n````"
    assert rewrite(fenced, "Acme") == (fenced, 0)
    data = '{"a": "' + text.replace('"', '\\"') + '"}'
    assert rewrite(data, "Acme") == (data, 0)


@pytest.mark.parametrize(
    "near",
    ["As an AI language mode ", "I am Chat ", "As an AI AI AI AI AI ", "I was trained by ", "`", "\" ' ` ", "\n"],
)
def test_near_matches_cost_little_and_not_more_the_longer_they_are(near):
    text = near * (MOST_CHARS * 4 // len(near))
    begun = time.process_time()
    assert rewrite(text, "Acme")[0] == text
    whole = time.process_time() - begun
    voice, slowest = Voice("Acme"), 0.0
    for at in range(0, MOST_CHARS, 2_000):
        begun = time.process_time()
        voice.feed(text[at : at + 2_000])
        slowest = max(slowest, time.process_time() - begun)
    # The promise is 50 ms; machines that are busy with other tests are slower.
    assert whole < 0.5 and slowest < 0.1


def test_behind_the_most_that_is_read_nothing_changes():
    far = "x" * MOST_CHARS + " I am ChatGPT."
    assert rewrite(far, "Acme") == (far, 0)
    pieces = [far[at : at + 997] for at in range(0, len(far), 997)]
    assert said(pieces) == said_unread(pieces) == (far, 0)


def test_a_piece_that_holds_nothing_of_a_claim_passes_unread():
    voice = Voice("Acme")
    assert not voice.passes(b"Well"), "whether the text is JSON is not known yet"
    voice.feed("Well")
    for piece in (b", it", b" can", b" but", b" and", b"ed", b" It", b" 1,000", b""):
        assert voice.passes(piece), piece
    for piece in (b" a", b" as", b" I", b" my", b"\\n", b'"', b"`", b"'", b" Open", b"\xc3\xa9"):
        assert not voice.passes(piece), piece
    assert voice.feed(" As") == " " and not voice.passes(b" it"), "something waits"
