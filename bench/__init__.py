"""Side-by-side measurements of DAC and its peers: commands that print what they measured, here and now."""

import mesh  # noqa: F401  # It says how many threads numpy has, as in DAC's own processes: before numpy is loaded.
