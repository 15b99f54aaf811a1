"""What prompts are for, in words: the intents, what callers may call them, and how a sentence speaks of them."""

from __future__ import annotations

from collections.abc import Mapping

from services.router.policies.policies import INTENTS

WORDS: Mapping[str, str] = {
    "social_chat": "small talk",
    "qa_retrieval": "question",
    "coding_help": "coding",
    "editing_writing": "writing",
    "reasoning_math": "reasoning",
}
"""How a reason speaks of a prompt of that intent."""
TASKS: Mapping[str, str] = {
    **{intent: intent for intent in INTENTS},
    **dict.fromkeys(("chat", "conversation", "social", "small_talk"), "social_chat"),
    **dict.fromkeys(("qa", "question_answering", "knowledge", "knowledge_qa", "retrieval", "search"), "qa_retrieval"),
    **dict.fromkeys(("code", "coding", "code_generation", "code_review", "debugging"), "coding_help"),
    **dict.fromkeys(
        ("writing", "editing", "summarization", "summarisation", "translation", "creative_writing", "writing_editing"),
        "editing_writing",
    ),
    **dict.fromkeys(("math", "reasoning", "analysis", "planning"), "reasoning_math"),
}
"""What a caller may say the task is → the intent. Other words say nothing: the prompt decides."""
SIMPLE, COMPLEX = 1 / 3, 2 / 3
"""Below and above these a reason calls a prompt simple or complex."""


def intent_of_task(task_type: str) -> str:
    """The intent of a task as callers name it; empty when the word is none of those known."""
    return TASKS.get(task_type.strip().lower().replace("-", "_").replace(" ", "_"), "") if task_type else ""


def described(intent: str, complexity: float | None) -> str:
    """A prompt in words, e.g. "a simple coding prompt"; empty when nothing is known of it."""
    words = [WORDS.get(intent, "")]
    if complexity is not None and not SIMPLE <= complexity <= COMPLEX:
        words.insert(0, "simple" if complexity < SIMPLE else "complex")
    told = " ".join(word for word in words if word)
    return f"a {told} prompt" if told else ""
