"""Rules about what people and programs do: guessing, reusing and choosing passwords, anonymous logins, mail that leaves the server.

Secrets are compared by keyed fingerprints that never leave the process; no finding holds a secret or a fingerprint.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.findings.base import (
    ANONYMOUS,
    CLEAR,
    COMPRESSED,
    CREDENTIALS,
    CRITICAL,
    DELETED,
    HIGH,
    INFO,
    LIKELY,
    LOW,
    MEDIUM,
    REJECTED_HERE,
    REJECTIONS,
    SURE,
    VALID_PASSWORDS,
    Found,
    Rule,
)
from analyzer.findings.history import MAX_REJECTIONS, ClientPast, History, Rejection, SecretPast, fingerprint, keep
from analyzer.findings.traits import counted, first_login, server_text
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
#: Rejections after which a client that is let in as often is looked at again: fewer than it takes to raise the suspicion; where many
#: accounts were rejected, a third of their number, because counting takes long.
EXCUSED: Final = MIN_ACCOUNTS - 1
#: Accounts remembered for one secret.
MAX_SHARED: Final = 1000
#: Scores of zxcvbn up to this one are weak: fewer than a million guesses.
WEAK_SCORE: Final = 1


def brute_force(session: Session, found: Found) -> None:
    """Different passwords were tried for one account in a short time, and rejected.

    Five different passwords of one client within ten minutes, or ten of any clients, are no slips. A program that repeats one old
    password all day is not meant: that is a forgotten setting. A login that the server accepts after the guesses makes it critical.

    Of challenge and response nobody can tell whether the passwords differ: twelve rejected logins raise it, a step lower.
    """
    credentials = session.credentials
    if credentials is None:
        return
    for credential in credentials:
        name = credential.username
        if name is None:
            continue
        outcome = credential.outcome
        if outcome == REJECTED:
            if not _says_nothing(credential):
                _rejected(session, found, credential, name)
        elif outcome == ACCEPTED and (found.history.guessers > 0 or found.history.crowds > 0):
            past = found.history.known_client(session)
            if past is None:
                continue
            if past.names >= MIN_CROWD:
                _let_in(past, name, credential.timestamp_ns)
            told = None if past.guessed is None else past.guessed.get(name)
            # A session that began earlier may end later: only what came after the guesses is their fruit.
            if told is not None and told[0] <= credential.timestamp_ns <= told[1] + WINDOW_NS:
                # These guesses are told: one more slip is not to raise them again.
                _forget_guesses(session, found.history, past, name)
                _add(
                    session,
                    found,
                    credential,
                    CRITICAL if told[2] else HIGH,
                    LIKELY,
                    f"{session.client_ip} was let in as {name} after the guesses",
                )


def _says_nothing(credential: Credential) -> bool:
    """Whether a refusal says nothing of the password: it came out of turn, of whoever is in already for one (503, RFC 4954 section 4)."""
    reply = credential.reply
    return reply is not None and reply.startswith("503")


def _rejected(session: Session, found: Found, credential: Credential, name: str) -> None:
    history = found.history
    secret = credential.secret
    now: i64 = credential.timestamp_ns
    rejection = Rejection(now, session.client_ip, name, 0 if secret is None else fingerprint(secret))
    past = history.client(session)
    if past.rejections is None:
        past.rejections = [rejection]
        past.names = 1
    else:
        if past.names < MIN_ACCOUNTS and not _has(past.rejections, name):
            past.names += 1
            if past.names == MIN_CROWD:
                history.crowds += 1
        keep(past.rejections, rejection)
    told = None if past.guessed is None else past.guessed.get(name)
    if told is not None and now - told[1] <= WINDOW_NS:
        _tell(past, name, told[0], max(told[1], now), told[2])
        if told[2]:
            return
    else:
        told = None
    account = history.rejected(session, rejection)
    if account is None or account.rejections is None:
        return
    if _count_of(account.rejections, session.client_ip) >= MIN_GUESSES:
        seen = [one for one in _within(account.rejections, now) if one.client_ip == session.client_ip]
        guesses = len({one.secret for one in seen if one.secret != 0})
        unseen = len([one for one in seen if one.secret == 0])
        differ = guesses >= MIN_GUESSES
        if differ or (unseen >= MIN_GUESSES_UNSEEN and told is None):
            _tell(past, name, now, now, differ)
            history.guessers += 1
            what = f"{guesses} different passwords" if differ else f"{unseen} logins"
            doubt = "" if differ else ": guesses, or a program that repeats an old password, which hashes do not tell"
            _add(
                session, found, credential, HIGH if differ else MEDIUM, SURE if differ else LIKELY,
                f"{what} of {session.client_ip} for {name} rejected by {session.server_ip} within ten minutes{doubt}",
            )  # fmt: skip
            return
    if len(account.rejections) < MIN_GUESSES_SHARED:
        return
    if account.told_ns < 0 or now - account.told_ns > WINDOW_NS:
        seen = _within(account.rejections, now)
        guesses = len({one.secret for one in seen if one.secret != 0})
        clients = len({one.client_ip for one in seen})
        if guesses >= MIN_GUESSES_SHARED and clients > 1:
            account.told_ns = now
            _add(
                session, found, credential, HIGH, SURE,
                f"{guesses} different passwords for {name} of {clients} clients rejected by {session.server_ip} within ten minutes",
            )  # fmt: skip
    else:
        account.told_ns = now


def _has(rejections: list[Rejection], name: str) -> bool:
    """Whether one of them is of an account."""
    for one in rejections:  # noqa: SIM110 - a generator costs more than the few that there are
        if one.username == name:
            return True
    return False


def _count_of(rejections: list[Rejection], client_ip: str) -> i64:
    """How many of them are of one client."""
    count: i64 = 0
    for one in rejections:
        if one.client_ip == client_ip:
            count += 1
    return count


def _within(rejections: list[Rejection], timestamp_ns: int) -> list[Rejection]:
    """The rejections near a time; sessions that began earlier may have some that are later."""
    return [one for one in rejections if -WINDOW_NS <= timestamp_ns - one.timestamp_ns <= WINDOW_NS]


def _forget_guesses(session: Session, history: History, past: ClientPast, name: str) -> None:
    """Count a client's rejected logins to an account no more."""
    if past.guessed is not None:
        past.guessed.pop(name, None)
    if past.rejections is not None:
        past.rejections = [one for one in past.rejections if one.username != name]
    account = history.accounts.get(session.server_ip, name)
    if account is not None and account.rejections is not None:
        account.rejections = [one for one in account.rejections if one.client_ip != session.client_ip]


def _tell(past: ClientPast, name: str, since_ns: int, timestamp_ns: int, differ: bool) -> None:
    """Remember that an account was guessed at, for sure (passwords that differ) or maybe; bounded, the oldest goes."""
    guessed = past.guessed
    if guessed is None:
        guessed = {}
        past.guessed = guessed
    if len(guessed) >= MAX_REJECTIONS and name not in guessed:
        del guessed[next(iter(guessed))]
    guessed[name] = (since_ns, timestamp_ns, differ)


def _let_in(past: ClientPast, name: str, timestamp_ns: i64) -> None:
    """Remember that a client was let in as an account: since some time, and in the time before it."""
    names = past.let_in
    if names is None:
        past.let_in = [name]
        past.let_in_since_ns = timestamp_ns
        return
    over = timestamp_ns - past.let_in_since_ns > WINDOW_NS
    if over or len(names) >= 2 * MAX_REJECTIONS:
        if not over:
            names = list(dict.fromkeys(names))
            past.let_in = names
        if over or len(names) >= MAX_REJECTIONS:
            past.let_in_before = names
            past.let_in_before_ns = past.let_in_since_ns
            names = []
            past.let_in = names
            past.let_in_since_ns = timestamp_ns
    names.append(name)


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
    if past is None or past.names < MIN_ACCOUNTS or past.rejections is None:
        return
    for credential in session.credentials or []:
        if credential.outcome != REJECTED or credential.username is None:
            continue
        if past.sprayed_ns >= 0 and credential.timestamp_ns - past.sprayed_ns <= WINDOW_NS:
            past.sprayed_ns = credential.timestamp_ns
            continue
        if past.excused > 0:
            past.excused -= 1
            continue
        recent = _within(past.rejections, credential.timestamp_ns)
        names = {one.username for one in recent}
        if len(names) >= MIN_ACCOUNTS:
            alike = _same_secret(recent)
            if not alike and _lets_in_as_many(past, names, credential.timestamp_ns):
                past.excused = max(EXCUSED, len(names) // 3)
                continue
            past.sprayed_ns = credential.timestamp_ns
            with_what = ", with the same password" if alike else ""
            _add(
                session, found, credential, HIGH, SURE if alike else LIKELY,
                f"{session.client_ip} was rejected for {len(names)} accounts of {session.server_ip} within ten minutes{with_what}",
            )  # fmt: skip


def _same_secret(rejections: list[Rejection]) -> bool:
    """Whether all secrets that are known of rejected logins are one."""
    first: i64 = 0
    for one in rejections:
        secret = one.secret
        if secret != 0:
            if first == 0:
                first = secret
            elif secret != first:
                return False
    return first != 0


def _lets_in_as_many(past: ClientPast, names: set[str], timestamp_ns: i64) -> bool:
    """Whether a client is let in as many accounts as are rejected, about the same time."""
    others: set[str] = set()
    if past.let_in is not None and timestamp_ns - past.let_in_since_ns <= 2 * WINDOW_NS:
        _add_others(others, past.let_in, names)
    if past.let_in_before is not None and timestamp_ns - past.let_in_before_ns <= 2 * WINDOW_NS:
        _add_others(others, past.let_in_before, names)
    return len(others) >= len(names)


def _add_others(others: set[str], let_in: list[str], names: set[str]) -> None:
    """Add the latest of the accounts that are not among some, until there are as many."""
    at: i64 = len(let_in) - 1
    while at >= 0 and len(others) < len(names):
        name = let_in[at]
        if name not in names:
            others.add(name)
        at -= 1


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
        if credential is found.repeated and found.history.secrets.forgotten == 0 and not found.history.secrets.old:
            continue  # it was looked at when it came first, and nothing of that was forgotten
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

    High where a thousand guesses would do, medium otherwise.
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

    Medium where the server accepted it, low where its answer was not seen.
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
            detail=f"{session.client_ip} fetched {counted(deleted, 'message')} from {server_text(session)} and deleted "
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
        "password-spraying", HIGH, "Many accounts tried", password_spraying, CREDENTIALS | REJECTED_HERE,
        "Block the client, look for accounts that it got into, and have weak passwords changed.",
        ("CWE-307", "MITRE ATT&CK T1110.003"),
    ),
    Rule(
        "password-reuse", MEDIUM, "Accounts with the same password", password_reuse, VALID_PASSWORDS,
        "Have both passwords changed; hand out no default passwords.",
        ("CWE-1392", "NIST SP 800-63B"),
    ),
    Rule(
        "weak-password", MEDIUM, "Weak password", weak_password, VALID_PASSWORDS,
        "Have it changed to a long one that nobody else uses; check new ones against lists of common passwords.",
        ("CWE-521", "NIST SP 800-63B section 5.1.1.2"),
    ),
    Rule(
        "anonymous-login", MEDIUM, "Anonymous login", anonymous_login, ANONYMOUS,
        "Take ANONYMOUS out of the server's mechanisms, unless the mailboxes behind it are meant to be public.",
        ("CWE-287", "RFC 4505 section 3"),
    ),
    Rule(
        "mail-deleted-after-download", LOW, "Mail fetched in clear and deleted", mail_deleted_after_download, CLEAR | DELETED,
        "Set the client to SSL/TLS, and to leave messages on the server, or move it to IMAP.",
        ("CWE-319", "RFC 1939 section 8"),
    ),
    Rule(
        "compressed-session", INFO, "Compressed session in clear", compressed_session, COMPRESSED,
        "Set the client to SSL/TLS; take care that monitoring tools inflate COMPRESS=DEFLATE.",
        ("RFC 4978",),
    ),
)  # fmt: skip
