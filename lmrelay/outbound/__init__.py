"""
From a leased message to an outcome: dispatch, sites, connections, verdicts.
"""
