"""What was used and charged."""
