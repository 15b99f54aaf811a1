"""Hundreds of provider faults at one `dac up`: the cases, the provider that plays them, the run."""
