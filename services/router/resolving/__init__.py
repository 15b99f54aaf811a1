"""Which models two names mean."""
