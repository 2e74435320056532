"""
Public test doubles: in-memory wire, fake name server, scripted MX, certificates.
"""
