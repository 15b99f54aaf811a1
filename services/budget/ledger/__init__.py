"""Reservations and charges: decided in batches, written in one transaction."""
