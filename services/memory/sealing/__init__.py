"""Text at rest: data keys, sealing, erasure of a key."""
