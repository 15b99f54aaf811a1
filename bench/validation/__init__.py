"""How good the checks of answers are: toxicity, support, code and the one voice, measured as they ship."""
