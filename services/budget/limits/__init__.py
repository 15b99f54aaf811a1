"""Rate limits: how many requests and tokens, for whom, counted where."""
