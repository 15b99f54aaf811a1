"""What a prompt wants, and how well each model would answer it."""
