"""Which models providers offer, and how they do in short graded probes."""
