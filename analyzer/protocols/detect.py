"""Which protocol a connection speaks: port first, then content; greeting and first command together.

A banner alone proves little: FTP says ``220`` too, Redis says ``+OK``. On a listed port the port's protocol is believed unless the
octets say otherwise; on any other port both the server's greeting and the client's first command must be mail's. What proves to be
another protocol is named (``http``, ``ssh``, ``ftp`` ...) and never read for credentials.

The preface of a proxy is stepped over before (:mod:`analyzer.protocols.prefaces`). Ports are those of RFC 8314 and the service name
registry.

Over 300 lines: tables of what other protocols say, and one decision that weighs all of it.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.protocols.base import looks_like_tls
from analyzer.protocols.sasl import names_mechanism

#: Port -> name of the mail service (the ``port_service`` column).
SERVICES: Final[dict[int, str]] = {
    24: "lmtp",
    25: "smtp",
    110: "pop3",
    143: "imap",
    465: "submissions",
    587: "submission",
    993: "imaps",
    995: "pop3s",
    4190: "managesieve",
}

#: Service -> word of the ``protocol`` column.
PROTOCOL_OF: Final[dict[str, str]] = {
    "lmtp": "lmtp",
    "smtp": "smtp",
    "smtps": "smtp",
    "submission": "smtp",
    "submissions": "smtp",
    "pop3": "pop3",
    "pop3s": "pop3",
    "imap": "imap",
    "imaps": "imap",
    "managesieve": "managesieve",
    "sieve": "managesieve",
}

#: Services that begin with TLS.
IMPLICIT_TLS_SERVICES: Final = ("pop3s", "imaps", "submissions", "smtps")

#: Octets of either side that detection looks at before it decides with what there is.
MAX_LOOK: Final = 4096
#: First octet of a TLS record that holds an alert.
TLS_ALERT: Final = 21
#: What only begins with a character or a number that a line of mail may begin with, too.
WEAK_GREETINGS: Final = frozenset({"!irc", "!redis", "!nntp", "!memcached"})
#: The reply code that SMTP and NNTP share among those that NNTP begins with.
NOT_IMPLEMENTED: Final = b"502"
#: Octets of a greeting that are looked at.
_HEAD: Final = 16
#: Octets of a first line that are enough to tell what it is.
ENOUGH: Final = 64

POP3_VERBS: Final = frozenset(
    {b"USER", b"PASS", b"APOP", b"AUTH", b"CAPA", b"STLS", b"QUIT", b"STAT", b"LIST", b"RETR", b"TOP", b"UIDL", b"DELE",
     b"RSET", b"NOOP", b"LAST", b"UTF8", b"LANG", b"XTND"}
)  # fmt: skip
SMTP_VERBS: Final = frozenset(
    {b"EHLO", b"HELO", b"LHLO", b"MAIL", b"RCPT", b"DATA", b"BDAT", b"RSET", b"NOOP", b"QUIT", b"HELP", b"VRFY", b"EXPN",
     b"AUTH", b"STARTTLS", b"X-ANONYMOUSTLS", b"X-EXPS", b"ETRN", b"TURN", b"ATRN", b"XCLIENT", b"XFORWARD", b"BURL"}
)  # fmt: skip
#: SMTP commands that no other protocol with a 220 greeting begins with.
SMTP_OPENINGS: Final = frozenset({b"EHLO", b"HELO", b"LHLO", b"MAIL", b"STARTTLS", b"XCLIENT"})
IMAP_VERBS: Final = frozenset(
    {b"CAPABILITY", b"NOOP", b"LOGOUT", b"STARTTLS", b"AUTHENTICATE", b"LOGIN", b"ID", b"ENABLE", b"SELECT", b"EXAMINE",
     b"LIST", b"LSUB", b"STATUS", b"NAMESPACE", b"UID", b"FETCH", b"COMPRESS", b"IDLE", b"APPEND", b"SEARCH", b"STORE",
     b"CREATE", b"DELETE", b"RENAME", b"SUBSCRIBE", b"UNSUBSCRIBE", b"CHECK", b"CLOSE", b"UNSELECT", b"EXPUNGE", b"COPY",
     b"MOVE", b"GETQUOTA", b"GETQUOTAROOT", b"GETACL", b"MYRIGHTS", b"XLIST", b"LANGUAGE", b"UNAUTHENTICATE"}
)  # fmt: skip
SIEVE_VERBS: Final = frozenset(
    {b"AUTHENTICATE", b"STARTTLS", b"LOGOUT", b"CAPABILITY", b"HAVESPACE", b"PUTSCRIPT", b"LISTSCRIPTS", b"SETACTIVE",
     b"GETSCRIPT", b"DELETESCRIPT", b"RENAMESCRIPT", b"CHECKSCRIPT", b"NOOP", b"UNAUTHENTICATE"}
)  # fmt: skip
#: What follows OK, NO or BYE of a ManageSieve server: a code, a text (quoted or a literal), or the line's end (RFC 5804 section 1.3).
SIEVE_ENDINGS: Final = (b' "', b" (", b" {", b"\r", b"\n")
#: Verbs of dictionary clients (RFC 2229), whose servers greet with 220.
DICT_VERBS: Final = frozenset({b"CLIENT", b"DEFINE", b"MATCH", b"SHOW"})
#: Verbs that FTP clients open with, and no mail client does (RFC 959, RFC 4217).
FTP_VERBS: Final = frozenset({b"USER", b"FEAT", b"SYST", b"OPTS", b"PASV", b"ACCT", b"PBSZ", b"PORT", b"CLNT", b"HOST"})
#: How FTP answers to USER and PASS (RFC 959 section 5.4).
FTP_REPLIES: Final = frozenset({b"331 ", b"331-", b"332 ", b"230 ", b"230-", b"530 "})
HTTP_VERBS: Final = frozenset(
    {b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"PROPFIND", b"PATCH", b"TRACE", b"CONNECT", b"PRI"}
)
MEMCACHED_VERBS: Final = frozenset(
    {
        b"GET",
        b"GETS",
        b"SET",
        b"ADD",
        b"REPLACE",
        b"STATS",
        b"VERSION",
        b"FLUSH_ALL",
        b"INCR",
        b"DECR",
        b"TOUCH",
        b"CAS",
    }
)
NNTP_VERBS: Final = frozenset(
    {b"MODE", b"GROUP", b"ARTICLE", b"AUTHINFO", b"IHAVE", b"XOVER", b"NEWNEWS", b"NEWGROUPS", b"CAPABILITIES", b"DATE"}
)
IRC_VERBS: Final = frozenset({b"NICK", b"CAP", b"JOIN", b"PRIVMSG", b"USERHOST"})

# Verdicts besides the protocol words.
UNDECIDED: Final = ""
NOT_MAIL_PREFIX: Final = "!"


def first_line(data: bytes) -> bytes | None:
    """The first line without its end; what there is where it is long enough to judge; None where more octets are needed."""
    end: i64 = data.find(b"\n")
    if end < 0:
        return data if len(data) >= ENOUGH else None
    return data[:end].rstrip(b"\r")


def verb_of(line: bytes) -> bytes:
    """The first word of a line, upper case."""
    return line.split(b" ", 1)[0].upper()


def judge_greeting(data: bytes) -> str:
    """What a server's first octets are: a protocol's word, ``!name`` for another protocol, ``?`` for neither, '' for too few octets."""
    verdict = _greeting(data)
    if verdict == "?" and len(data) < _HEAD and b"\n" not in data:
        return UNDECIDED  # it may yet become something
    return verdict


def _greeting(data: bytes) -> str:
    size = len(data)
    if size == 0:
        return UNDECIDED
    if looks_like_tls(data):
        return "tls"
    ended = b"\n" in data
    if size < 4 and not ended:
        return UNDECIDED
    head = data[:_HEAD].upper()
    if head.startswith((b"+OK", b"-ERR")):
        return "pop3"
    if head[0] == 43 or head[0] == 45:
        # +PONG, -NOAUTH, -WRONGPASS ...: Redis has such words, POP3 none but its two
        return "!redis" if 65 <= head[1] <= 90 else "?"
    if head.startswith(b"* ACAP") or (head.startswith(b"* A") and b"* ACAP".startswith(head)):
        # RFC 2244 section 6.2.2
        return "!acap" if size >= 6 else ("?" if ended else UNDECIDED)
    if head.startswith(b"* "):
        if size < 5 and not ended:
            return UNDECIDED
        return "imap" if head.startswith((b"* OK", b"* PREAUTH", b"* BYE", b"* PR", b"* BY")) else "?"
    if head.startswith(b"SSH-"):
        return "!ssh"
    if head.startswith((b"HTTP", b"ICY ")):
        return "!http"
    if head.startswith((b"RFB ", b"RFB\x20")):
        return "!vnc"
    if head.startswith(b'"'):
        if size < 8 and not ended:
            return UNDECIDED
        return (
            "managesieve"
            if head.startswith((b'"IMPLEM', b'"SIEVE"', b'"SASL"', b'"STARTT', b'"NOTIFY', b'"VERSIO'))
            else "?"
        )
    if head[0] == 58 and 48 <= head[1] <= 57:
        return "!redis"  # a number
    if head.startswith((b":", b"NOTICE ", b"PING :", b"ERROR :")):
        return "!irc"
    if 48 <= head[0] <= 57 and 48 <= head[1] <= 57 and 48 <= head[2] <= 57 and head[3:4] in (b" ", b"-", b"\r", b"\n"):
        code = head[:3]
        if code in (b"220", b"421", b"554", b"550", b"450", b"451", b"521", b"500", b"530", b"521"):
            return "smtp"
        if code in (b"200", b"201", b"400", b"480", b"502"):
            return "!nntp"
        return "?"
    if head.startswith((b"$", b"*1\r\n", b"*2\r\n", b"*3\r\n")):
        return "!redis"
    if head.startswith((b"STAT ", b"VALUE ", b"STORED", b"ERROR\r", b"VERSION ", b"END\r")):
        return "!memcached"
    return "?"


def judge_command(line: bytes) -> str:
    """What a client's first line is: like :func:`judge_greeting`; where protocols share a verb all are named (``smtp pop3``)."""
    verb = verb_of(line)
    if verb in HTTP_VERBS and (b" HTTP/" in line or line[len(verb) :].startswith((b" /", b" http", b" * "))):
        return "!http"
    if verb.startswith(b"SSH-"):
        return "!ssh"
    if verb.startswith((b"*1", b"*2", b"*3", b"*4")) and len(verb) == 2:
        return "!redis"
    if verb == b"AUTH" and not names_mechanism(line[4:]):
        return "?"  # Redis has AUTH too, with a password behind it
    if verb == b"USER" and line.count(b" ") >= 4 and line.find(b" :") > 0:
        return "!irc"  # USER name mode unused :real name
    words: list[str] = []
    if verb in SMTP_VERBS:
        words.append("smtp")
    if verb in POP3_VERBS:
        words.append("pop3")
    if verb in SIEVE_VERBS:
        words.append("managesieve")
    parts = line.split(b" ", 2)
    if len(parts) > 1 and parts[1].upper() in IMAP_VERBS and 0 < len(parts[0]) <= 64 and parts[0] != b"+":
        words.append("imap")
    if words:
        return " ".join(words)
    if verb in IRC_VERBS:
        return "!irc"
    if verb in FTP_VERBS:
        return "!ftp"
    if verb in NNTP_VERBS:
        return "!nntp"
    if verb in MEMCACHED_VERBS:
        return "!memcached"
    return "?"


def says_sieve(server: bytes) -> bool:
    """Whether a server begins as ManageSieve servers do that list nothing: with OK, NO or BYE, and no more than may follow these."""
    for word in (b"OK", b"NO", b"BYE"):
        if server[: len(word)].upper() == word:
            return server[len(word) :].startswith(SIEVE_ENDINGS)
    return False


def is_ftp(line: bytes) -> bool:
    """Whether a client's first line after a 220 greeting is FTP's (AUTH TLS and AUTH SSL are RFC 4217's, not mail's)."""
    verb = verb_of(line)
    if verb == b"AUTH":
        return line[4:].strip().upper() in (b"TLS", b"SSL", b"TLS-C", b"TLS-P")
    return verb in FTP_VERBS


def decide(
    service: str | None, server: bytes, client: bytes, final: bool, whole: bool = False, client_first: bool = False
) -> str:
    """Which protocol speaks, from the first octets of both sides (prefaces of proxies removed).

    ``service`` is the port's, None on an unlisted port; ``final`` says that no more octets will come, ``whole`` that these are the first of
    the connection, ``client_first`` that the client spoke before the server. Returns a word of the ``protocol`` column, ``tls``,
    ``!name`` for another protocol (``!`` alone: nobody knows which), or '' where more octets are needed.
    """
    greeting = judge_greeting(server)
    line: bytes | None = None
    command = UNDECIDED
    if client:
        if looks_like_tls(client):
            command = "tls"
        else:
            line = first_line(client)
            if line is None and final:
                line = client
            if line is not None:
                command = judge_command(line)
                if (
                    command.startswith(NOT_MAIL_PREFIX)
                    and len(client) < ENOUGH
                    and b" " not in client
                    and b"\n" not in client
                ):
                    command = "?"  # a word without its end may be the beginning of another one
    if service is None:
        return _decide_unlisted(greeting, command, line, final)
    expected = PROTOCOL_OF[service]
    if greeting == "tls":
        if not client and server[0] == TLS_ALERT and not final and len(server) < MAX_LOOK:
            return UNDECIDED  # the server complains of something, and the client's octets tell of what
        if client and server[0] == TLS_ALERT and command != "tls" and not is_binary(client):
            # Text at a port of TLS: all that some servers have to say to it is an alert.
            if command == UNDECIDED and not final and len(client) < MAX_LOOK:
                return UNDECIDED
            if command.startswith(NOT_MAIL_PREFIX):
                return command
            if expected in command.split(" "):
                return expected
        return "tls"
    if command == "tls" and not server:
        # On a port that begins in clear the server's greeting may still cross the client's hello.
        return "tls" if final or service in IMPLICIT_TLS_SERVICES else UNDECIDED
    if not server and not client and service in IMPLICIT_TLS_SERVICES:
        return UNDECIDED  # all that is known is that octets are missing
    if (
        greeting == "!nntp"
        and expected in ("smtp", "lmtp")
        and server.startswith(NOT_IMPLEMENTED)
        and command != greeting
    ):
        # SMTP has this code as well (RFC 5321 section 4.2.3), RFC 3977 greets so whom it turns away: NNTP's verbs tell.
        greeting = "smtp"
    if greeting.startswith(NOT_MAIL_PREFIX):
        if whole or greeting not in WEAK_GREETINGS:
            return greeting
        # In the middle of a connection it may be text of a message, or a reply: the client's word counts.
        if command == UNDECIDED and not final and len(client) < MAX_LOOK and len(server) < MAX_LOOK:
            return UNDECIDED
        return expected if expected in command.split(" ") or (expected == "lmtp" and "smtp" in command) else greeting
    if greeting == UNDECIDED and server and not final and len(server) < MAX_LOOK:
        return UNDECIDED
    if greeting in ("", "?"):
        # The server has not spoken (or not a greeting): midstream, one-sided, pipelined, or another protocol.
        if command.startswith(NOT_MAIL_PREFIX):
            return command
        if (
            expected == "pop3"
            and server[:4] in FTP_REPLIES
            and line is not None
            and verb_of(line) in (b"USER", b"PASS")
        ):
            return "!ftp"  # POP3 answers with words, not with numbers
        if not server and not final and len(client) < MAX_LOOK:
            return UNDECIDED  # servers speak first: what comes may still show that this is none of mail
        if command == UNDECIDED and not final and len(client) < MAX_LOOK and len(server) < MAX_LOOK:
            return UNDECIDED  # what the client says may show it
        if command == UNDECIDED and not client and not server:
            return UNDECIDED
        if command == "tls" and (service in IMPLICIT_TLS_SERVICES or is_binary(server)):
            return "tls"  # the server's first octets are the middle of a record
        if service in IMPLICIT_TLS_SERVICES and (is_binary(server) or is_binary(client)):
            return "tls"  # in the middle of records, both of them
        if (
            whole
            and greeting == "?"
            and command == "?"
            and (client_first or not (expected == "managesieve" and says_sieve(server)))
        ):
            return NOT_MAIL_PREFIX  # neither side has said a word of mail
        return expected
    if whole and client_first and greeting == "pop3":
        # Servers of mail greet first. What looks like a bare greeting may be an answer: of Redis, to AUTH and a password.
        if not final and b"\n" not in server and len(server) < MAX_LOOK:
            return UNDECIDED
        if _is_bare(server) and line is not None and verb_of(line) not in POP3_OPENINGS:
            return "!redis" if verb_of(line) == b"AUTH" else NOT_MAIL_PREFIX
        if _is_bare(server) and command == "?":
            return "!redis"
    spoken = expected if greeting == "smtp" and expected == "lmtp" else greeting
    if command == UNDECIDED:
        # Greeting alone: believe it on a port of its own protocol once nothing more comes.
        return spoken if final or len(server) >= MAX_LOOK else UNDECIDED
    if command == "tls":
        return spoken
    if greeting == "smtp" and line is not None:
        if is_ftp(line):
            return "!ftp"
        verb = verb_of(line)
        if verb in DICT_VERBS:
            return "!dict"
        if verb not in SMTP_OPENINGS:
            said = server.split(b"\n", 1)[0].lower()
            if b"ftp" in said and b"smtp" not in said:
                return "!ftp"
    if command in ("!redis", "!http", "!ssh", "!memcached", "!irc") and greeting == "pop3":
        return command
    if whole and command == "?" and (expected != spoken or (greeting == "pop3" and _is_bare(server))):
        return NOT_MAIL_PREFIX  # a greeting that is somebody else's, and no word of mail behind it
    return spoken


def _is_bare(server: bytes) -> bool:
    """Whether a server began with ``+OK`` without a text, or with a refusal: POP3 servers greet with a text."""
    return server.split(b"\n", 1)[0].strip() == b"+OK" or server.startswith(b"-ERR")


#: What a POP3 client that does not wait for the greeting begins with.
POP3_OPENINGS: Final = frozenset({b"USER", b"CAPA", b"APOP", b"AUTH", b"STLS"})

#: First octets of a client's line that settle it behind a greeting of the same protocol.
POP3_SETTLES: Final = frozenset(
    {b"USER ", b"CAPA\r", b"AUTH ", b"APOP ", b"STLS\r", b"QUIT\r", b"user ", b"capa\r", b"auth ", b"apop ", b"quit\r"}
)
SMTP_SETTLES: Final = frozenset({b"EHLO ", b"HELO ", b"ehlo ", b"helo "})


def is_binary(data: bytes) -> bool:
    """Whether octets cannot be lines of text: control characters among the first of them."""
    return any(octet < 32 and octet not in (9, 10, 13) for octet in data[:ENOUGH])


def quick_verdict(service: str, server: bytes, client: bytes) -> str:
    """What :func:`decide` would say of an ordinary beginning (a greeting, then a first line), at a tenth of the cost; '' where it must be asked."""
    if not client.endswith(b"\n"):
        return UNDECIDED
    if service == "pop3":
        if server.startswith(b"+OK") and client[:5] in POP3_SETTLES and client.find(b" :") < 0:  # IRC has USER, too
            return "pop3"
    elif service == "imap":
        if server.startswith(b"* OK"):
            words = client.split(None, 2)
            if (
                len(words) > 1
                and words[1].upper() in IMAP_VERBS
                and len(words[0]) <= 64
                and client[0] > 32
                and client[0] < 127
            ):
                return "imap" if words[0] != b"+" and b" HTTP/" not in client else UNDECIDED
    elif service in ("smtp", "submission") and server.startswith((b"220 ", b"220-")) and client[:5] in SMTP_SETTLES:
        return "smtp"
    return UNDECIDED


def _decide_unlisted(greeting: str, command: str, line: bytes | None, final: bool) -> str:
    """On an unlisted port both the greeting and the first command must be mail's."""
    if (
        greeting.startswith(NOT_MAIL_PREFIX)
        or greeting in ("?", "tls")
        or command.startswith(NOT_MAIL_PREFIX)
        or command == "tls"
    ):
        return NOT_MAIL_PREFIX
    if greeting == UNDECIDED or command == UNDECIDED:
        if command == "?" or final:
            return NOT_MAIL_PREFIX
        return UNDECIDED
    if greeting == "smtp":
        if line is not None and verb_of(line) in SMTP_OPENINGS:
            return "smtp"
        return NOT_MAIL_PREFIX
    if greeting in command.split(" "):
        return greeting
    return NOT_MAIL_PREFIX


def plausible_greeting(buffer: bytes, start: i64, end: i64) -> bool:
    """Whether a payload met midstream on an unlisted port could be a mail server's greeting."""
    if end - start < 6:
        return False
    first = buffer[start]
    if first == 50:  # 2
        return buffer[start + 1] == 50 and buffer[start + 2] == 48 and buffer[start + 3] in (32, 45)
    if first == 43:  # +
        return buffer[start : start + 4] == b"+OK "
    if first == 42:  # *
        return buffer[start : start + 5] == b"* OK "
    if first == 34:  # "
        return buffer[start : start + 7] == b'"IMPLEM'
    return False


_GRANT_WORDS: Final = (b"tls", b"begin", b"start", b"ahead")
_GREETING_WORDS: Final = (b"smtp", b"pop", b"mail", b"server", b"service", b"ready", b"welcome", b"hello", b"<")


def says_grant(server: bytes) -> bool:
    """Whether the last line that a server said could grant TLS: whether it is one, or a greeting, its words tell."""
    lines = server.rstrip().split(b"\n")
    last = lines[-1].strip().lower()
    if last.startswith(b"* "):
        return False
    if last.startswith((b"+ok", b"220")) and not any(word in last for word in _GRANT_WORDS):
        return not any(word in last for word in _GREETING_WORDS)
    return True
