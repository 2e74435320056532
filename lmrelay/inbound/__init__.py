"""
From a socket to an accepted message: listeners, sessions, transactions.
"""
