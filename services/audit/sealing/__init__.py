"""Payloads at rest: what seals and opens the stored records, and the keys for that."""
