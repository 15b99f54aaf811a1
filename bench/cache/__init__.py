"""How often the response cache answers, and how often wrongly: `python -m bench.cache`, see docs/cache.md."""
