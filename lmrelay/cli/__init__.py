"""
The operator's command, over the same seams as the daemon.
"""
