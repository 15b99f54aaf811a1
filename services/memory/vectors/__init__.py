"""Collections of vectors and what searches them."""
