"""
The grammar of SMTP in both directions: bytes in, values out, and back (RFC 5321). Pure.
"""
