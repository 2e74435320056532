"""
The configuration as values, and how files become them.
"""
