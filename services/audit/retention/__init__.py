"""Retention: what may go again, on whose word, and what must stay; the log declares every removal before it happens."""
