"""What learning online is worth: a replay of per-prompt results of many models, one answer revealed at a time."""
