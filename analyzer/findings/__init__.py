"""Findings: what records mean and what to do about it. Sessions in order of time come in, findings go out.

One function a rule, grouped by theme: ``plaintext`` ``starttls`` ``tls`` ``certificates`` ``ports`` ``behaviour`` ``honesty``. A rule reads
one session and the :mod:`history <analyzer.findings.history>` of its server and client, and says what it found; ``catalogue``
lists all rules, ``engine`` runs them. A rule that fails is contained, and reported as a fault of mailtap.
"""
