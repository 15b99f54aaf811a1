"""The context of a turn: what goes along within a budget, and what was left out."""
