"""
A module a target: C{target(data)} runs the real code and asserts what must hold of it, whatever the octets;
C{examples} draws octets from the grammar, C{WORDS} are the pieces of it that a mutator puts together.
"""
