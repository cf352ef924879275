"""The monitor room: live traffic to alerts.

In come records as the one pipeline makes them from an interface or a growing file. Out go alerts to one or more sinks.
"""
