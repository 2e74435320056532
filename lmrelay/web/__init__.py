"""
What people and their monitoring see of the relay over HTTP: metrics, health and the status page.
"""
