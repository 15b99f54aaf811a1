"""A chat's part in a thread: its context, what is saved, and the paths below a thread."""
