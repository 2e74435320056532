"""
What can go wrong in a story, a family of troubles a module; L{tests.simulation.profiles} says which of them come when.
"""
