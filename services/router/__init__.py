"""Router: which model answers. It owns the live catalog of models, the scores, the decision and the breakers.

It decides from what it knows already (the last word heard from provider, budget and its sources), so a decision waits
for nobody. It reads a prompt to understand it and never stores one; it never calls a model provider or prices a charge.
"""
