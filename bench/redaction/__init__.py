"""How well private values are found, on made cases whose truth is known, and what that costs."""
