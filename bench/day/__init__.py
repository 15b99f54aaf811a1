"""A day of requests, replayed: what routing saves against always asking the best single model, and what it costs in
quality."""
