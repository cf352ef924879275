"""The laboratory behind the sample captures: network, servers, clients, attackers, and a ledger of what was done.

====================  ============================================================================================
``network``           namespaces, addresses, the bad wire's two ends
``servers``           Dovecot, Postfix, Cyrus and small servers of our own, from the templates in ``config/``
``accounts``          the made-up people and their made-up passwords
``ledger``            what each client did, written down while it did it: the source of ``expected.jsonl``
``sasl``              authentication exchanges, seen from the client
``clients``           scripted clients that know every octet they send
``programs``          real mail programs (curl, swaks, fetchmail, mbsync ...)
``proxy``             the attacker: strips STARTTLS, injects replies, greets with PREAUTH
``wire``              a forwarder that loses, doubles and reorders packets
``pcapfile``          capture files: recording, rewriting, and which connection came when
``laboratory``        all of these as a sample sees them, and the register of samples
``samples``           one function a sample (``samples_office``: the demo)
====================  ============================================================================================
"""
