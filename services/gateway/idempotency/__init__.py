"""Changes with an Idempotency-Key: carried out once, answered the same again for a day."""
