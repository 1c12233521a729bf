"""Alerts and heartbeats on their way out: beside the fires, which never wait for them.

Nothing is imported here: the process that delivers through apprise starts from this package.
"""
