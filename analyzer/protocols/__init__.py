"""The protocols room: from byte streams to events.

In come octets, gaps and ends of stream of one connection. Out come events in the past tense: greeted, credentials sent,
authentication ended, message transferred. A dissector does no input or output and never raises: what breaks the protocol
becomes an anomaly event. Which protocol a connection speaks is decided here as well, apart from the dissectors.
"""
