"""What is said of an answer: seven checks that need no network and no other model, and one quality from 0 to 1.

It judges and never changes an answer, decides nothing (blocking, asking again and flagging are the pipeline's), keeps
nothing, and calls nobody but the embedder and the entailment model that it was given. What cannot be checked is said to
be not checked. docs/validation-checks.md has the formula, the figures and the limits.
"""
