"""The one token estimate: from bytes, without a tokenizer, so that every service agrees."""

BYTES_PER_TOKEN = 4.0
"""Mean UTF-8 bytes per token of byte-level BPE vocabularies on English prose and code (OpenAI's rule of thumb)."""
IMAGE_TOKENS = 1_100
"""What one image is estimated at (OpenAI's high-detail 1024×1024 tile count is 765; others ask for more)."""


def estimate_tokens(text_bytes: int) -> int:
    """The likely number of tokens of a text of that many UTF-8 bytes; at least 1 for any text."""
    return 0 if text_bytes <= 0 else max(1, round(text_bytes / BYTES_PER_TOKEN))


def upper_bound_tokens(text_bytes: int) -> int:
    """A true upper bound: in byte-level BPE every token is at least one byte."""
    return max(0, text_bytes)
