"""The operator's console: what signs in, what is read, and the views that show it."""
