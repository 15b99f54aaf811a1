"""Audit: what happened. It owns the append-only record of every request and of every administrative change.

Requests arrive by following budget's outbox, changes by Append from the services' own outboxes. It never writes to
another service, never holds prompt text, and nothing in it can be changed or deleted.
"""
