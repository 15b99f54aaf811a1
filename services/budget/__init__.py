"""Budget: money. It owns budgets, reservations, the ledger, the prices charged and the outbox of request records.

It is the only place that prices a charge, and nothing is acknowledged before it is committed in PostgreSQL. It never
calls a provider, never looks at a prompt, and never lets a counter live only in memory.
"""
