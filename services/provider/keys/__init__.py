"""The key vault: an organisation's and everybody's keys, sealed, chosen, rotated."""
