"""Memory: threads with their messages, memories, vectors and the response cache, all inside one organisation.

It saves what it acknowledges in PostgreSQL first. It calls no model but one that the operator names for facts and
summaries, never decides what may be cached or for how much money, and never shows one organisation's rows to another.
"""
