"""
The room that tells endpoints of projects what became of their mail.
"""
