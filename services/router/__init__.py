"""Router: which model answers. It owns the live catalog of models, the scores, the decision and the breakers.

It decides from what it knows already (the last word heard from provider and budget), so a decision waits for nobody.
It never calls a model provider, never sees a prompt, and never prices a charge.
"""
