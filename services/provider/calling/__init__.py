"""One generation: candidates in order, attempts, retries, rescue, hedging."""
