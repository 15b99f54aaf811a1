"""The forms of others at the edge: reading a body as far as DAC looks into it, and what DAC writes itself."""
