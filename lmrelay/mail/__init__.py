"""
What mail is: addresses, envelopes, heads, outcomes, notifications. Pure.
"""
