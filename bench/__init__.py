"""
How fast, and for how much CPU: lmrelay, and Postfix beside it, on loopback with a sink.
"""
