"""
Who may send: projects and their tokens, behind twisted.cred.
"""
