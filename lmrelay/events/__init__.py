"""
From committed events to the people who wait for them.
"""
