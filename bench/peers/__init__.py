"""
The servers that lmrelay is measured with: how each is installed below a folder, set up, started and stopped.
"""
