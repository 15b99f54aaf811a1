"""How fast the provable log grows and is verified, what tampering it finds, and whether its sums are the standard's."""
