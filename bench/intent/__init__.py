"""How well the router understands prompts: intent of the shipped weights, with topics held out, and on MT-Bench."""
