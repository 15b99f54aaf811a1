"""Memory: threads with their messages, and the exact response cache. Everything lives inside one organisation.

It saves what it acknowledges in PostgreSQL first. It never calls a model, never decides what may be cached or for how
much money, and never shows one organisation's rows to another.
"""
