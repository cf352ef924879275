"""The flows room: from segments to two ordered byte streams a connection.

In come segments in capture order. Out go the octets of client and server in the order in which they were sent, each
once, with explicit gaps for what the capture does not hold, and the facts of the connection. Duplicates, overlaps,
reordering, loss and idle flows are settled here, within named limits.
"""
