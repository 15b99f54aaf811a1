"""Side-by-side measurements of DAC and its peers: commands that print what they measured, here and now."""
