"""The findings room: from records to findings.

In come the records of all sessions and what is known about each server. Out come findings: what is wrong, how bad, where
the evidence is, and what an administrator should change. Facts that need more than one session live here.
"""
