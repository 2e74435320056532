"""
A multi-tenant mail relay: accepted means on disk, and nothing accepted is ever lost.
"""
