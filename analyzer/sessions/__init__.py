"""The sessions room: from the events of one flow to its records.

In come the events of one flow. Out come one session record and its credential, TLS and message records: plain data that
depends on that flow's packets alone.
"""
