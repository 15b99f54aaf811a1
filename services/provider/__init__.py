"""Talking to model providers: adapters, the one retry and fallback loop, the key vault, the embedded model.

It owns how a request is put to a provider and what came back (usage, finish, failures). It never decides which model
should answer, never prices anything, and keeps no prompt.
"""
