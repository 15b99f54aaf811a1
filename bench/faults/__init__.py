"""The sixteen provider faults of Failover Bench against a running DAC: a wall that breaks, calls, verdicts.

Our own fault upstream and judge by that bench's published method (github.com/failoverbench/failoverbench, METHODOLOGY
v0.1); no code of it. `python -m bench.faults --help`.
"""
