"""How well and how fast memory recalls: the method is in bench/README.md."""
