"""What the records of requests add up to: rollups, dashboards, recommendations.

Rollups are counted in the transaction that stores the records, and can always be counted anew from them.
"""
