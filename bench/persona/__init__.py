"""How well claims of identity are put in the organisation's name, how well all else stays, and what it costs.

`labels.json` has figures only: by an answer's id where its claims begin, as somebody found them who read the answers.
"""
