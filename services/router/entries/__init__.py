"""Models that the operator makes through the API: said, checked, kept with all their versions."""
