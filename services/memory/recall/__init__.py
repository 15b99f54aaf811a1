"""Memories: kept, found, changed and erased."""
