"""
Rows: the store, group commit, leases, the retry schedule.
"""
