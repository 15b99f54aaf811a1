"""WordPiece: the pieces that BERT's own tokenizer makes."""

import gzip
import hashlib

import pytest

from services.memory.embedding.wordpiece import PIECES_MAX, VOCABULARY, WordPiece

TOKENS = WordPiece()
WORDS = gzip.decompress(VOCABULARY.read_bytes()).decode().splitlines()


def pieces(text):
    return [WORDS[one] for one in TOKENS.encode(text)][1:-1]


# Written down from the tokenizer that the model was published with.
GOLDEN = {
    "": [],
    "   \n\t\r ": [],
    "Hello, world!": ["hello", ",", "world", "!"],
    "unaffable embeddings": ["una", "##ffa", "##ble", "em", "##bed", "##ding", "##s"],
    "Café naïve ÀÉÎ": ["cafe", "naive", "ae", "##i"],
    "e\u0301te\u0301": ["et", "##e"],
    "İstanbul": ["istanbul"],
    "日本語 mixed 中文abc": ["日", "本", "語", "mixed", "中", "文", "abc"],
    "한국어": ["ᄒ", "##ᅡ", "##ᆫ", "##ᄀ", "##ᅮ", "##ᆨ", "##ᄋ", "##ᅥ"],
    "a\x00b\u200bc\x07d\u00ade": ["abc", "##de"],
    "\ufeffstart": ["start"],
    "a\ufffdb": ["ab"],
    "one\u00a0two\u2028three\u3000four": ["one", "two", "three", "four"],
    "$5.00^`~+<=>|": ["$", "5", ".", "00", "^", "`", "~", "+", "<", "=", ">", "|"],
    "“quotes”—dash…": ["“", "quotes", "”", "—", "dash", "…"],
    "don't": ["don", "'", "t"],
    "48213": ["48", "##21", "##3"],
    "😀 smile": ["[UNK]", "smile"],
    "x" * 101: ["[UNK]"],
    "[CLS] [SEP]": ["[", "cl", "##s", "]", "[", "sep", "]"],
}


@pytest.mark.parametrize("text", GOLDEN)
def test_known_tokenisations(text):
    assert pieces(text) == GOLDEN[text]


def test_the_longest_word_that_is_taken_apart():
    assert set(pieces("x" * 100)) <= {"xx", "##xx", "xxx", "##x", "##xxx", "x", "xxxx"} and pieces("x" * 100) != [
        "[UNK]"
    ]


def test_marks_and_length():
    assert TOKENS.encode("hello") == [101, 7592, 102]
    long = TOKENS.encode("many words " * 500)
    assert len(long) == PIECES_MAX and (long[0], long[-1]) == (101, 102)
    assert TOKENS.encode("many words " * 500) == TOKENS.encode("many words " * 64)


def test_what_is_far_behind_costs_nothing():
    assert TOKENS.encode("word " * 200) == TOKENS.encode("word " * 2_000_000)


def test_a_lone_surrogate_is_dropped():
    assert pieces("a\ud800b") == ["ab"]


def test_the_vocabulary_is_the_models():
    digest = hashlib.sha256(gzip.decompress(VOCABULARY.read_bytes())).hexdigest()
    assert digest == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    assert digest in VOCABULARY.with_name("bert_uncased_vocab.LICENSE.md").read_text()
