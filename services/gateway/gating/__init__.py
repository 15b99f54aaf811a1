"""Checks of answers on their way: when one is made, by which rules, and what becomes of an answer that does not hold.

It asks the engine (services.gateway.validation), a judge and webhooks for what they find, and flags, asks again or
blocks as the policy says. A check that fails itself loses no answer: what it would have said is "not checked".
"""
