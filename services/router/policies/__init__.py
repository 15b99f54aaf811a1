"""What a decision may choose from, for whom, and what is done to answers."""
