"""
Questions to a name server, and answers with their lifetime and their AD bit.
"""
