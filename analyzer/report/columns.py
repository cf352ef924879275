"""The tables' columns: names, types and meanings, in order. Every output format and the data frames are made from this list.

Columns may be added, none is renamed: scripts depend on them. Types: ``text`` (string), ``word`` (one of few words; category),
``count`` (integer), ``flag`` (boolean), ``time`` (UTC, nanoseconds), ``list`` (list of text).
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Column(NamedTuple):
    """One column: its name, its type, what it means."""

    name: str
    kind: str
    meaning: str


SESSIONS: Final = (
    Column("session_id", "text", "stable hash of the connection and its start"),
    Column("capture", "text", "capture file in which the session begins, as it was named"),
    Column("sensor", "text", "name of the sensor, empty offline"),
    Column("start", "time", "time of the first packet"),
    Column("end", "time", "time of the last packet"),
    Column("first_frame", "count", "Wireshark's number of the first packet"),
    Column("last_frame", "count", "Wireshark's number of the last packet"),
    Column("client_ip", "text", "address of the client"),
    Column("client_port", "count", "TCP port of the client"),
    Column("server_ip", "text", "address of the server"),
    Column("server_port", "count", "TCP port of the server"),
    Column("protocol", "word", "pop3 imap smtp lmtp managesieve unknown"),
    Column("port_service", "word", "what the server's port is for (pop3s); null off the list of mail ports"),
    Column("transport", "word", "plaintext starttls implicit_tls unknown"),
    Column("starttls", "word", "not_applicable not_offered offered requested refused accepted completed unseen"),
    Column("exposure", "word", "worst thing an eavesdropper could read: credentials content metadata none unknown"),
    Column("auth_attempts", "count", "authentications begun"),
    Column("auth_accepted", "count", "authentications that the server accepted"),
    Column(
        "messages", "count", "whole messages seen in clear; not those fetched in parts (TOP, header and text apart)"
    ),
    Column("message_bytes", "count", "octets of messages seen in clear, parts included"),
    Column("packets", "count", "packets of the connection"),
    Column("client_bytes", "count", "octets of payload sent by the client"),
    Column("server_bytes", "count", "octets of payload sent by the server"),
    Column("gap_bytes", "count", "octets known to have been sent that the capture does not hold"),
    Column("conflict_bytes", "count", "octets sent twice with different content"),
    Column("completeness", "word", "complete midstream truncated one_sided"),
    Column("server_banner", "text", "the server's greeting"),
    Column("client_name", "text", "how the client introduced itself (EHLO, IMAP ID)"),
    Column("capabilities", "list", "what the server offered in clear"),
    Column("display_filter", "text", "a Wireshark display filter that shows exactly this session"),
    Column("compressed", "flag", "COMPRESS=DEFLATE was negotiated in clear"),
    Column("not_mail", "text", "the other protocol that was met on a mail port; null for mail"),
    Column("anomalies", "list", "what the protocols do not foresee, each as kind@frame"),
)

CREDENTIALS: Final = (
    Column("session_id", "text", "session in which the credentials were sent"),
    Column("time", "time", "when they were complete on the wire"),
    Column("frame", "count", "Wireshark's number of the packet that completed them"),
    Column("client_ip", "text", "address of the client"),
    Column("server_ip", "text", "address of the server"),
    Column("server_port", "count", "TCP port of the server"),
    Column("protocol", "word", "as in sessions"),
    Column("mechanism", "word", "USER/PASS, APOP, LOGIN-CMD or the name of the SASL mechanism"),
    Column("username", "text", "authentication identity"),
    Column("authzid", "text", "authorization identity, where one was sent"),
    Column("secret", "text", "password or token; masked unless asked for"),
    Column("secret_kind", "word", "password bearer_token challenge_response none"),
    Column("challenge", "text", "the server's challenge; null unless secrets are shown"),
    Column("response", "text", "the client's response; null unless secrets are shown"),
    Column("outcome", "word", "accepted rejected cancelled unknown"),
    Column("secret_id", "text", "keyed fingerprint: equal secrets have equal ids within one run or one key"),
    Column("secret_length", "count", "characters of the secret"),
    Column("strength", "count", "0 (guessed at once) to 4 (strong); null where not judged"),
    Column("exposed", "flag", "readable on the wire; false where keys were needed"),
)

TLS: Final = (
    Column("session_id", "text", "session of the handshake"),
    Column("time", "time", "when the handshake began"),
    Column("frame", "count", "Wireshark's number of the first TLS packet"),
    Column("mode", "word", "implicit starttls"),
    Column("version", "word", "SSLv2 SSLv3 TLSv1.0 TLSv1.1 TLSv1.2 TLSv1.3; null where no ServerHello was seen"),
    Column("offered_versions", "list", "versions that the client offered"),
    Column("cipher_suite", "text", "IANA name of the chosen suite"),
    Column("offered_suites", "list", "IANA names of the suites that the client offered"),
    Column("group", "text", "key exchange group"),
    Column("sni", "text", "server name that the client asked for"),
    Column("alpn", "text", "application protocol"),
    Column("ja3", "text", "JA3 fingerprint of the client"),
    Column("ja3s", "text", "JA3S fingerprint of the server"),
    Column("ja4", "text", "JA4 fingerprint of the client"),
    Column("resumed", "flag", "an earlier session was resumed"),
    Column("handshake", "word", "completed failed incomplete unseen"),
    Column("alert", "text", "meaning of the alert that ended it"),
    Column("alert_sender", "word", "client server"),
    Column("cert_seen", "flag", "the server's certificate was visible"),
    Column("cert_subject", "text", "subject of the server's certificate"),
    Column("cert_issuer", "text", "its issuer"),
    Column("cert_names", "list", "names it is good for"),
    Column("cert_not_before", "time", "start of its validity"),
    Column("cert_not_after", "time", "end of its validity"),
    Column("cert_key", "text", "kind and size of its key (RSA-2048)"),
    Column("cert_signature", "text", "algorithm of its signature"),
    Column("cert_sha256", "text", "its SHA-256 fingerprint"),
    Column("cert_problems", "list", "what is wrong with it, at capture time"),
)

MESSAGES: Final = (
    Column("session_id", "text", "session in which the message went over the wire"),
    Column("time", "time", "when it ended (or was cut off)"),
    Column("frame", "count", "Wireshark's number of the packet in which it ended"),
    Column("direction", "word", "submitted relayed delivered retrieved appended"),
    Column("mail_from", "text", "sender of the envelope"),
    Column("recipients", "list", "recipients of the envelope"),
    Column("recipient_count", "count", "their number, those cut from the list included"),
    Column("size", "count", "octets"),
    Column("complete", "flag", "its end was seen and nothing is missing"),
    Column("accepted", "flag", "the receiver took it; null where that was not seen"),
    Column("deleted", "flag", "it was removed from the server in this session"),
    Column("mailbox", "text", "IMAP mailbox"),
    Column("attachments", "list", "file names of its attachments"),
    Column("subject", "text", "only on request, else null"),
    Column("header_from", "text", "only on request, else null"),
    Column("header_to", "text", "only on request, else null"),
    Column("exposed", "flag", "readable on the wire; false where keys were needed"),
)

FINDINGS: Final = (
    Column("finding_id", "text", "stable hash of the rule and its evidence"),
    Column("rule", "word", "slug of the rule"),
    Column("severity", "word", "info low medium high critical"),
    Column("confidence", "word", "high medium low"),
    Column("title", "text", "what was found, in a few words"),
    Column("session_id", "text", "session of the evidence"),
    Column("time", "time", "when"),
    Column("frame", "count", "Wireshark's number of the packet that proves it"),
    Column("client_ip", "text", "address of the client"),
    Column("server_ip", "text", "address of the server"),
    Column("server_port", "count", "TCP port of the server"),
    Column("protocol", "word", "as in sessions"),
    Column("username", "text", "account concerned"),
    Column("detail", "text", "the evidence in words"),
    Column("remediation", "text", "what to do"),
    Column("references", "list", "RFC, CWE, CVE"),
    Column("offset", "count", "octet of its sender's stream at which the evidence begins"),
    Column("capture", "text", "capture file in which the session begins"),
)

SERVERS: Final = (
    Column("server_ip", "text", "address of the server"),
    Column("server_port", "count", "TCP port"),
    Column("protocol", "word", "as in sessions"),
    Column("sessions", "count", "sessions seen"),
    Column("plaintext", "count", "of them in clear"),
    Column("starttls", "count", "of them upgraded"),
    Column("implicit_tls", "count", "of them with TLS from the first octet"),
    Column("starttls_offered", "word", "always sometimes never unseen"),
    Column("mechanisms", "list", "mechanisms offered in clear"),
    Column("plaintext_auth_offered", "flag", "password mechanisms are offered before TLS"),
    Column("tls_versions", "list", "TLS versions negotiated"),
    Column("cert_sha256", "text", "fingerprint of the certificate seen last"),
    Column("first_seen", "time", "start of its first session"),
    Column("last_seen", "time", "end of its last session"),
    Column("grade", "word", "how well it protects its users: A (well) to F (not at all), unseen where nothing tells"),
    Column("reasons", "list", "why"),
    Column("accepted_mechanisms", "list", "mechanisms with which it let somebody in in clear"),
    Column("starttls_refused", "count", "times it refused STARTTLS"),
    Column("tls_failed", "count", "TLS handshakes with it that failed"),
    Column("cipher_suites", "list", "cipher suites negotiated"),
    Column("cert_not_after", "time", "end of the validity of the certificate seen last"),
    Column("cert_problems", "list", "what was wrong with it"),
)

MIGRATION: Final = (
    Column("client_ip", "text", "client that still logs in in clear"),
    Column("server_ip", "text", "address of the server"),
    Column("server_port", "count", "TCP port used today"),
    Column("protocol", "word", "as in sessions"),
    Column("username", "text", "account"),
    Column("current", "text", "today's setting"),
    Column("recommended", "text", "setting to enter"),
    Column("seen_working", "flag", "the recommended setting was seen working on this server"),
    Column("accounts", "count", "accounts of this client concerned"),
    Column("last_seen", "time", "last session in clear"),
    Column("host", "text", "server name to enter: the one that others use or its certificate has, else its address"),
    Column("authentication", "text", "what to choose for authentication"),
    Column("basis", "text", "what the recommendation rests on"),
    Column("problems", "list", "misconfigurations of this client, by name"),
    Column("closing", "text", "what closing today's port would cut off"),
)

CAPTURES: Final = (
    Column("capture", "text", "the file as it was named; - for standard input"),
    Column("format", "text", "pcap, pcapng, with the compression behind it"),
    Column("linktypes", "list", "link types of its packets"),
    Column("packets", "count", "packets"),
    Column("bytes", "count", "octets captured"),
    Column("first", "time", "time of the first packet"),
    Column("last", "time", "time of the last packet"),
    Column("mail_packets", "count", "packets of the mail sessions that begin in it"),
    Column("skipped_bytes", "count", "octets of the file that belong to no readable record"),
    Column("damaged", "count", "places at which the file is damaged"),
    Column("dropped", "count", "packets that the capturing system lost; null where it does not say"),
    Column("sha256", "text", "SHA-256 of the file; null where it changed or is gone"),
)

#: Table name -> columns, in the order of the JSON output.
TABLES: Final[dict[str, tuple[Column, ...]]] = {
    "captures": CAPTURES,
    "sessions": SESSIONS,
    "credentials": CREDENTIALS,
    "tls": TLS,
    "messages": MESSAGES,
    "findings": FINDINGS,
    "servers": SERVERS,
    "migration": MIGRATION,
}
