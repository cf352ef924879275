"""Rules about what people and programs do: guessing, reusing and choosing passwords, anonymous logins, mail that leaves the server.

Secrets are compared by keyed fingerprints that never leave the process; no finding holds a secret or a fingerprint.
"""

from __future__ import annotations

from typing import Final, TypeVar

from analyzer.findings.base import (
    ANONYMOUS,
    CLEAR,
    COMPRESSED,
    CREDENTIALS,
    CRITICAL,
    HIGH,
    INFO,
    LIKELY,
    LOW,
    MEDIUM,
    MESSAGES,
    PASSWORDS,
    REJECTIONS,
    SURE,
    Found,
    Rule,
)
from analyzer.findings.history import MAX_REJECTIONS, ClientPast, Rejection, SecretPast, fingerprint, keep
from analyzer.findings.traits import first_login, server_text
from analyzer.protocols.events import ACCEPTED, CANCELLED, PASSWORD, REJECTED
from analyzer.sessions.records import PLAINTEXT, Credential, Session

#: Rejected logins count together within this time.
WINDOW_NS: Final = 600 * 1_000_000_000
#: Different passwords rejected for one account that are no user's slips any more. A client that repeats one wrong password is none.
MIN_GUESSES: Final = 5
#: Rejected challenge-response logins (which never look alike) for one account, and passwords for one account from any clients.
MIN_GUESSES_UNSEEN: Final = 12
MIN_GUESSES_SHARED: Final = 10
#: Different accounts of which one client was rejected; and how many of them it takes to look at those that are let in as well.
MIN_ACCOUNTS: Final = 5
MIN_CROWD: Final = 3
#: Rejections after which a client that is let in as often is looked at again: fewer than it takes to raise the suspicion.
EXCUSED: Final = MIN_ACCOUNTS - 1
#: Accounts remembered for one secret.
MAX_SHARED: Final = 1000
#: Accounts of one client whose rejections are counted before they are counted anew.
MAX_NAMES: Final = 4 * MAX_REJECTIONS
#: Scores of zxcvbn up to this one are weak: fewer than a million guesses.
WEAK_SCORE: Final = 1

Value = TypeVar("Value")


def brute_force(session: Session, found: Found) -> None:
    """Different passwords were tried for one account in a short time, and rejected.

    Five different passwords of one client within ten minutes, or ten of any clients, are no slips. A program that repeats one old
    password all day is not meant: that is a forgotten setting. A login that the server accepts after the guesses makes it critical.
    """
    credentials = session.credentials
    if credentials is None:
        return
    for credential in credentials:
        name = credential.username
        if name is None:
            continue
        if credential.outcome == REJECTED:
            _rejected(session, found, credential, name)
        elif credential.outcome == ACCEPTED and (found.history.guessers > 0 or found.history.crowds > 0):
            past = found.history.known_client(session)
            if past is None:
                continue
            if len(past.names) >= MIN_CROWD:
                _let_in(past, name, credential.timestamp_ns)
            told = past.guessed.get(name)
            # A session that began earlier may end later: only what came after the guesses is their fruit.
            if told is not None and told[0] <= credential.timestamp_ns <= told[1] + WINDOW_NS:
                del past.guessed[name]
                # These guesses are told: one more slip is not to raise them again.
                past.rejections = [one for one in past.rejections if one.username != name]
                _add(
                    session,
                    found,
                    credential,
                    CRITICAL,
                    LIKELY,
                    f"{session.client_ip} was let in as {name} after the guesses",
                )


def _rejected(session: Session, found: Found, credential: Credential, name: str) -> None:
    secret = 0 if credential.secret is None else fingerprint(credential.secret)
    rejection = Rejection(credential.timestamp_ns, session.client_ip, name, secret)
    past = found.history.client(session)
    keep(past.rejections, rejection)
    count = past.names.get(name, 0) + 1
    if len(past.names) >= MAX_NAMES:
        past.names = _names(past.rejections)
    past.names[name] = count
    if count == 1 and len(past.names) == MIN_CROWD:
        found.history.crowds += 1
    told = past.guessed.get(name) if past.guessed else None
    if told is None or credential.timestamp_ns - told[1] > WINDOW_NS:
        guesses = 0
        unseen = 0
        if count >= MIN_GUESSES:
            seen = [one for one in _within(past.rejections, credential.timestamp_ns) if one.username == name]
            guesses = len({one.secret for one in seen if one.secret != 0})
            unseen = len([one for one in seen if one.secret == 0])
        if guesses >= MIN_GUESSES or unseen >= MIN_GUESSES_UNSEEN:
            _tell(past.guessed, name, credential.timestamp_ns, credential.timestamp_ns)
            found.history.guessers += 1
            what = f"{guesses} different passwords" if guesses >= MIN_GUESSES else f"{unseen} logins"
            _add(
                session, found, credential, HIGH, SURE if guesses >= MIN_GUESSES else LIKELY,
                f"{what} of {session.client_ip} for {name} rejected by {session.server_ip} within ten minutes",
            )  # fmt: skip
            return
    else:
        _tell(past.guessed, name, told[0], max(told[1], credential.timestamp_ns))
        return
    account = found.history.rejected(session, rejection)
    if account is None or account.rejections is None or len(account.rejections) < MIN_GUESSES_SHARED:
        return
    if account.told_ns == 0 or credential.timestamp_ns - account.told_ns > WINDOW_NS:
        seen = _within(account.rejections, credential.timestamp_ns)
        guesses = len({one.secret for one in seen if one.secret != 0})
        clients = len({one.client_ip for one in seen})
        if guesses >= MIN_GUESSES_SHARED and clients > 1:
            account.told_ns = credential.timestamp_ns
            _add(
                session, found, credential, HIGH, SURE,
                f"{guesses} different passwords for {name} of {clients} clients rejected by {session.server_ip} within ten minutes",
            )  # fmt: skip
    else:
        account.told_ns = credential.timestamp_ns


def _within(rejections: list[Rejection], timestamp_ns: int) -> list[Rejection]:
    """The rejections near a time; sessions that began earlier may have some that are later."""
    return [one for one in rejections if -WINDOW_NS <= timestamp_ns - one.timestamp_ns <= WINDOW_NS]


def _let_in(past: ClientPast, name: str, timestamp_ns: int) -> None:
    """Remember that a client was let in as an account."""
    if past.let_in is None:
        past.let_in = {}
    _remember(past.let_in, name, timestamp_ns)


def _names(rejections: list[Rejection]) -> dict[str, int]:
    """Accounts of rejections, counted."""
    names: dict[str, int] = {}
    for one in rejections:
        names[one.username] = names.get(one.username, 0) + 1
    return names


def _tell(guessed: dict[str, tuple[int, int]], name: str, since_ns: int, timestamp_ns: int) -> None:
    """Remember that an account was guessed at."""
    _remember(guessed, name, (since_ns, timestamp_ns))


def _remember(known: dict[str, Value], name: str, value: Value) -> None:
    """Keep what is known of an account; bounded, the oldest goes."""
    if len(known) >= MAX_REJECTIONS and name not in known:
        del known[next(iter(known))]
    known[name] = value


def _add(session: Session, found: Found, credential: Credential, severity: int, confidence: str, detail: str) -> None:
    found.add(
        session, credential.frame, credential.timestamp_ns, credential.offset, severity=severity, confidence=confidence,
        username=credential.username, detail=detail,
    )  # fmt: skip


def password_spraying(session: Session, found: Found) -> None:
    """One client was rejected for many accounts in a short time.

    Trying a few common passwords on every account stays below the limits that lock an account. Five accounts of one client at one
    server within ten minutes raise it. A proxy or web mail server in front of many users looks the same when they mistype, but it is
    let in as others all the while: with different passwords, and as many accounts let in as rejected, it is not meant.
    """
    past = found.history.known_client(session)
    if past is None or len(past.names) < MIN_ACCOUNTS:
        return
    for credential in session.credentials or []:
        if credential.outcome != REJECTED or credential.username is None:
            continue
        if past.sprayed_ns and credential.timestamp_ns - past.sprayed_ns <= WINDOW_NS:
            past.sprayed_ns = credential.timestamp_ns
            continue
        if past.excused > 0:
            past.excused -= 1
            continue
        recent = _within(past.rejections, credential.timestamp_ns)
        names = {one.username for one in recent}
        if len(names) >= MIN_ACCOUNTS:
            secrets = len({one.secret for one in recent if one.secret != 0})
            if secrets != 1 and _lets_in_as_many(past, names, credential.timestamp_ns):
                past.excused = EXCUSED
                continue
            past.sprayed_ns = credential.timestamp_ns
            alike = ", with the same password" if secrets == 1 else ""
            _add(
                session, found, credential, HIGH, SURE if secrets == 1 else LIKELY,
                f"{session.client_ip} was rejected for {len(names)} accounts of {session.server_ip} within ten minutes{alike}",
            )  # fmt: skip


def _lets_in_as_many(past: ClientPast, names: set[str], timestamp_ns: int) -> bool:
    """Whether a client is let in as many accounts as are rejected, about the same time."""
    if past.let_in is None:
        return False
    near = [name for name, let_in_ns in past.let_in.items() if -WINDOW_NS <= timestamp_ns - let_in_ns <= WINDOW_NS]
    return len(set(near) - names) >= len(names)


def password_reuse(session: Session, found: Found) -> None:
    """Two accounts have the same password.

    It may be one person with two accounts, a default password that was never changed, or a shared secret. Whoever has one of them
    has both. The same name with and without its domain is taken for one account; rejected logins do not count.
    """
    for credential in session.credentials or []:
        # The outcome first: it is at hand, the secret may have to be fetched from far.
        outcome = credential.outcome
        if outcome == REJECTED or outcome == CANCELLED or credential.secret_kind != PASSWORD:
            continue
        secret = credential.secret
        name = credential.username
        if secret is None or not name or secret.length == 0:
            continue
        key = fingerprint(secret)
        past = found.history.secrets.get(key)
        if past is None:
            found.history.secrets.put(key, SecretPast(session.server_ip, name))
            continue
        if past.username == name or same_account(past.username, name):
            continue
        if past.accounts is None:
            past.accounts = set()
        if name in past.accounts or len(past.accounts) >= MAX_SHARED:
            continue
        past.accounts.add(name)
        _add(
            session, found, credential, MEDIUM, SURE if credential.outcome == ACCEPTED else LIKELY,
            f"{name} at {session.server_ip} has the same password as {past.username} at {past.server_ip}",
        )  # fmt: skip


def same_account(one: str, other: str) -> bool:
    """Whether two names are one account: with and without its domain (behind ``@`` or before a backslash), in other letter case."""
    one, other = one.lower(), other.lower()
    if one == other:
        return True
    local, domain = _split(one)
    local_of_other, domain_of_other = _split(other)
    if local != local_of_other:
        return False
    # EXAMPLE\kim and kim@example.org may be one; two domains written alike that differ are two.
    return not (domain and domain_of_other) or ("\\" in one) != ("\\" in other)


def _split(name: str) -> tuple[str, str]:
    """Account and domain of a name in lower case, the domain empty where it has none."""
    domain, mark, local = name.partition("\\")
    if mark:
        return local, domain
    local, _, domain = name.partition("@")
    return local, domain


def weak_password(session: Session, found: Found) -> None:
    """A password that was readable is one of those that are guessed first.

    Judged by zxcvbn, as if nobody had seen it on the wire: fewer than a million guesses. Rejected passwords are not judged, for they are
    nobody's; the first hundred different ones of a run are, and only the first 20 characters of each. What was left out is said, in the
    report's remarks. The finding does not hold the password.
    """
    strength = found.strength
    history = found.history
    for credential in session.credentials or []:
        secret = credential.secret
        if secret is None or not to_be_judged(credential):
            continue
        score = strength.score(secret, credential.username)
        if score is None:
            if strength.closed and secret.reveal() is not None:
                history.passwords_left_out += 1
        elif score <= WEAK_SCORE:
            key = (fingerprint(secret), credential.username)
            if key in history.weak:
                continue
            history.weak.add(key)
            guesses = "at once" if score == 0 else "in less than a million tries"
            whose = "a password" if credential.username is None else f"the password of {credential.username}"
            _add(
                session, found, credential, HIGH if score == 0 else MEDIUM, SURE,
                f"{whose} at {server_text(session)} would be guessed {guesses}",
            )  # fmt: skip


def to_be_judged(credential: Credential) -> bool:
    """Whether the password of a login is worth judging: it was readable, and was not rejected."""
    return (
        credential.secret is not None
        and credential.secret_kind == PASSWORD
        and credential.exposed
        and credential.outcome != REJECTED
        and credential.outcome != CANCELLED
    )


def anonymous_login(session: Session, found: Found) -> None:
    """A server let a client in without a name (SASL ANONYMOUS).

    It may be a public archive. If not, anybody can read, and sometimes write, what is there.
    """
    for credential in session.credentials or []:
        if credential.mechanism == "ANONYMOUS" and (credential.outcome == ACCEPTED or credential.outcome == "unknown"):
            accepted = credential.outcome == ACCEPTED
            _add(
                session, found, credential, MEDIUM if accepted else LOW, SURE if accepted else LIKELY,
                f"{server_text(session)} {'took' if accepted else 'was asked for'} an anonymous login of {session.client_ip}",
            )  # fmt: skip
            return


def mail_deleted_after_download(session: Session, found: Found) -> None:
    """A client fetched mail in clear and had it deleted from the server.

    The only copy is now on that machine, and the way there was open. POP3 clients do so unless told to leave messages on the server.
    """
    if session.transport != PLAINTEXT:
        return
    deleted = 0
    last = None
    for message in session.message_list or []:
        if message.deleted and message.exposed:
            deleted += 1
            if last is None:
                last = message
    if last is not None:
        credential = first_login(session)
        found.add(
            session, last.frame, last.timestamp_ns, last.offset, username=None if credential is None else credential.username,
            detail=f"{session.client_ip} fetched {deleted} message{'s' if deleted > 1 else ''} from {server_text(session)} and deleted "
            f"{'them' if deleted > 1 else 'it'} there",
            count=deleted,
        )  # fmt: skip


def compressed_session(session: Session, found: Found) -> None:
    """The session was compressed (COMPRESS=DEFLATE), in clear.

    Compression hides nothing, but tools that do not inflate it see nothing: mailtap reads it, many sniffers and filters do not.
    """
    found.add_start(session, detail=f"COMPRESS=DEFLATE with {server_text(session)}")


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "brute-force", HIGH, "Passwords guessed", brute_force, CREDENTIALS | REJECTIONS,
        "Block the client, look in the server's log for logins that worked, and limit attempts (fail2ban, auth_failure_delay).",
        ("CWE-307", "MITRE ATT&CK T1110.001"),
    ),
    Rule(
        "password-spraying", HIGH, "Many accounts tried", password_spraying, CREDENTIALS | REJECTIONS,
        "Block the client, look for accounts that it got into, and have weak passwords changed.",
        ("CWE-307", "MITRE ATT&CK T1110.003"),
    ),
    Rule(
        "password-reuse", MEDIUM, "Accounts with the same password", password_reuse, PASSWORDS,
        "Have both passwords changed; hand out no default passwords.",
        ("CWE-1392", "NIST SP 800-63B"),
    ),
    Rule(
        "weak-password", MEDIUM, "Weak password", weak_password, PASSWORDS,
        "Have it changed to a long one that nobody else uses; check new ones against lists of common passwords.",
        ("CWE-521", "NIST SP 800-63B section 5.1.1.2"),
    ),
    Rule(
        "anonymous-login", MEDIUM, "Anonymous login", anonymous_login, ANONYMOUS,
        "Take ANONYMOUS out of the server's mechanisms, unless the mailboxes behind it are meant to be public.",
        ("CWE-287", "RFC 4505 section 3"),
    ),
    Rule(
        "mail-deleted-after-download", LOW, "Mail fetched in clear and deleted", mail_deleted_after_download, CLEAR | MESSAGES,
        "Set the client to SSL/TLS, and to leave messages on the server, or move it to IMAP.",
        ("CWE-319", "RFC 1939 section 8"),
    ),
    Rule(
        "compressed-session", INFO, "Compressed session in clear", compressed_session, COMPRESSED,
        "Set the client to SSL/TLS; take care that monitoring tools inflate COMPRESS=DEFLATE.",
        ("RFC 4978",),
    ),
)  # fmt: skip
