"""Configurations of other gateways as DAC's own, with a note for everything that is not carried over as it was."""
