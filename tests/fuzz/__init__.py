"""
Fuzzing: what reads octets of strangers, held against properties with octets that nobody would write.
"""
