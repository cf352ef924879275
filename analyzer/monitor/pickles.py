"""Session records as octets for the store, and back: pickles that hold no secret and load no code.

A database may be shared, so what comes out of it is not trusted: the unpickler knows the handful of functions that restore records,
checks the types of what they are given, and nothing else can be named in a pickle. Octets are bounded before and after inflating.

What is left out: secrets (fingerprint, length and strength stay), the server's challenges and replies to logins, which no table shows
without secrets, and header blocks of messages. Certificates stand as SHA-256 sums; the store keeps each once, in a table of its own.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from analyzer import model
from analyzer.model import Secret
from analyzer.sessions import records
from analyzer.sessions.records import AnomalySeen, Credential, Message, Session, TlsHandshake

#: First octet of a record: the shape of what follows. A later shape gets another number.
SHAPE: Final = b"\x01"
#: Octets of one record, deflated and inflated. 10,000 messages and 1,000 credentials are a few megabytes.
MAX_STORED: Final = 8 << 20
MAX_RECORD: Final = 32 << 20
#: Logins that are kept of a session whose record is larger.
MAX_LOGINS_IN_SHORT: Final = 100
#: Lists of text that loaded records share, and texts in one.
MAX_SHARED: Final = 4096
MAX_SHARED_TEXTS: Final = 256

#: What a record is restored by, and of what.
Reduced: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]


class DamagedRecord(ValueError):
    """Octets from the store that are no record; says in a few words why."""


class RecordTooLarge(DamagedRecord):
    """The record of one session takes more than the store keeps of one."""


def dump_session(session: Session) -> tuple[bytes, dict[bytes, bytes]]:
    """A sealed session as octets, and the certificates it refers to, by their SHA-256.

    Raises:
        RecordTooLarge: it is too large to keep.
    """
    certificates: dict[bytes, bytes] = {}

    def without_certificates(one: TlsHandshake) -> Reduced:
        reduced: Any = one.__reduce__()
        restore, (mode, frame, timestamp_ns, values) = reduced
        chain = values[14]
        if chain:
            digests = []
            for der in chain:
                digest = hashlib.sha256(der).digest()
                certificates[digest] = der
                digests.append(digest)
            values = (*values[:14], digests, *values[15:])
        return (restore, (mode, frame, timestamp_ns, values))

    out = io.BytesIO()
    pickler = pickle.Pickler(out, 5)
    special: dict[type, Callable[[Any], Reduced]] = {
        Credential: _without_exchange,
        Message: _without_header,
        TlsHandshake: without_certificates,
    }
    pickler.dispatch_table = special
    pickler.dump(session)
    octets = SHAPE + zlib.compress(out.getbuffer(), 1)
    if len(octets) > MAX_STORED:
        raise RecordTooLarge(f"the record of one session takes {len(octets):,} octets; {MAX_STORED:,} are the limit")
    return octets, certificates


def shortened(session: Session) -> Session:
    """A copy of a session's record without what there may be very much of: messages and anomalies, and logins but the first."""
    reduced: Any = session.__reduce__()
    restore, (*rest, parts) = reduced
    capabilities, credentials, _, tls, _ = parts
    first = None if credentials is None else credentials[:MAX_LOGINS_IN_SHORT]
    found: Session = restore(*rest, (capabilities, first, None, tls, None))
    return found


def _without_exchange(one: Credential) -> Reduced:
    reduced: Any = one.__reduce__()
    restore, (first, rest) = reduced
    outcome, frame, moment, _, exposed = rest
    return (restore, ((*first[:9], None, first[10]), (outcome, frame, moment, None, exposed)))


def _without_header(one: Message) -> Reduced:
    reduced: Any = one.__reduce__()
    restore, (first, *rest) = reduced
    return (restore, ((*first[:13], b""), *rest))


class SessionLoader:
    """Reads what :func:`dump_session` wrote. ``certificates`` finds a certificate by its SHA-256 (KeyError: it is gone)."""

    def __init__(self, certificates: Mapping[bytes, bytes]) -> None:
        self._certificates = certificates
        #: handshakes whose certificates were gone, all or some: they are loaded with those of the chain before the first that is
        self.stripped: int = 0
        self._shared: dict[tuple[str, ...], list[str]] = {}
        self._known: dict[tuple[str, str], Callable[..., object]] = {
            (one.__module__, one.__qualname__): function
            for one, function in (
                (records._session, self._session),  # noqa: SLF001 - the other halves of __reduce__
                (records._credential, _credential),  # noqa: SLF001
                (records._message, _message),  # noqa: SLF001
                (records._handshake, self._handshake),  # noqa: SLF001
                (model._masked, _secret),  # noqa: SLF001
            )
        }
        self._known[AnomalySeen.__module__, AnomalySeen.__qualname__] = _anomaly

    def load(self, octets: bytes) -> Session:
        """One session.

        Raises:
            DamagedRecord: the octets are no record of this version, or name what no record is made of.
        """
        if not octets:
            raise DamagedRecord("too large to be kept; what its columns say is in the store")
        if octets[:1] != SHAPE or len(octets) > MAX_STORED:
            raise DamagedRecord("not written by this version of mailtap")
        inflater = zlib.decompressobj()
        try:
            content = inflater.decompress(octets[1:], MAX_RECORD)
            found = _Unpickler(io.BytesIO(content), self._known).load() if inflater.eof else None
        except DamagedRecord:
            raise
        except Exception as error:  # noqa: BLE001 - hostile octets fail in any way they like
            raise DamagedRecord(type(error).__name__) from None
        if type(found) is not Session:
            raise DamagedRecord("no session")
        return found

    def _share(self, texts: list[str]) -> list[str]:
        """The same list as before, where it was met before: a server's capabilities, a client's suites. Nobody changes those of a record."""
        key = tuple(texts)
        known = self._shared.get(key)
        if known is None:
            known = texts
            if len(self._shared) < MAX_SHARED and len(texts) <= MAX_SHARED_TEXTS:
                self._shared[key] = known
        return known

    def _session(self, numbers: Any, texts: Any, optional: Any, flags: Any, parts: Any) -> Session:
        _all(numbers, _number)
        _all(texts, _text)
        _all(optional, _text_or_none)
        _all(flags, _flag)
        _each(parts, _PARTS)
        texts = tuple([sys.intern(text) for text in texts])
        if parts[0] is not None:
            parts = (self._share(parts[0]), *parts[1:])
        return records._session(numbers, texts, optional, flags, parts)  # noqa: SLF001

    def _handshake(self, mode: Any, frame: Any, timestamp_ns: Any, values: Any) -> TlsHandshake:
        _each((mode, frame, timestamp_ns), (_text, _number, _number))
        if type(values) is tuple and len(values) == len(_HANDSHAKE) - 1:
            values = (*values, None)  # written before the server's own words on a failed handshake were kept
        _each(values, _HANDSHAKE)
        chain = values[14]
        if chain is not None:
            kept: list[bytes] = []
            try:
                for digest in chain:
                    kept.append(self._certificates[digest])  # noqa: PERF401 - those before the first that is gone are kept
            except KeyError:
                self.stripped += 1
            chain = kept or None
        suites = self._share(values[3])
        values = (values[0], self._share(values[1]), values[2], suites, *values[4:14], chain, *values[15:])
        return records._handshake(mode, frame, timestamp_ns, values)  # noqa: SLF001


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, known: Mapping[tuple[str, str], Callable[..., object]]) -> None:
        super().__init__(stream)
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        found = self._known.get((module, name))
        if found is None:
            raise DamagedRecord("it names what no record is made of")
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise DamagedRecord("it names what no record is made of")


# -- types: what the functions that restore records rely on -----------------------------------------------------------------------


def _number(value: object) -> bool:
    return type(value) is int and -(1 << 63) <= value < 1 << 63


def _text(value: object) -> bool:
    return type(value) is str


def _text_or_none(value: object) -> bool:
    return value is None or type(value) is str


def _flag(value: object) -> bool:
    return type(value) is bool


def _flag_or_none(value: object) -> bool:
    return value is None or type(value) is bool


def _octets(value: object) -> bool:
    return type(value) is bytes


def _texts(value: object) -> bool:
    return type(value) is list and all(type(one) is str for one in value)


def _texts_or_none(value: object) -> bool:
    return value is None or _texts(value)


def _digests_or_none(value: object) -> bool:
    return value is None or (type(value) is list and all(type(one) is bytes for one in value))


def _secret_or_none(value: object) -> bool:
    return value is None or type(value) is Secret


def _list_of(kind: type) -> Callable[[object], bool]:
    return lambda value: value is None or (type(value) is list and all(type(one) is kind for one in value))


_PARTS: Final = (
    _texts_or_none,
    _list_of(Credential),
    _list_of(Message),
    lambda value: value is None or type(value) is TlsHandshake,
    _list_of(AnomalySeen),
)
_CREDENTIAL: Final = (
    _number, _number, _number, _number, _text, _text_or_none, _text_or_none, _secret_or_none, _text, _text_or_none,
    _secret_or_none,
)  # fmt: skip
_OUTCOME: Final = (_text, _number, _number, _text_or_none, _flag)
_MESSAGE: Final = (
    _number, _number, _number, _number, _text, _text_or_none, _texts, _number, _number, _flag, _flag, _text_or_none, _texts,
    _octets,
)  # fmt: skip
_HANDSHAKE: Final = (
    _text_or_none, _texts, _text_or_none, _texts, _text_or_none, _text_or_none, _text_or_none, _text_or_none, _text_or_none,
    _text_or_none, _flag_or_none, _text, _text_or_none, _text_or_none, _digests_or_none, _flag, _text_or_none, _text_or_none,
    _flag, _flag, _number, _text_or_none,
)  # fmt: skip
_ANOMALY: Final = (_text, _text, _number, _number, _number, _number)


def _each(values: Any, checks: tuple[Callable[[object], bool], ...]) -> None:
    if type(values) is not tuple or len(values) != len(checks):
        raise DamagedRecord("made of other parts than records are")
    for value, check in zip(values, checks, strict=True):
        if not check(value):
            raise DamagedRecord("made of other parts than records are")


def _all(values: Any, check: Callable[[object], bool]) -> None:
    if type(values) is not tuple or not all(map(check, values)):
        raise DamagedRecord("made of other parts than records are")


def _credential(first: Any, rest: Any) -> Credential:
    _each(first, _CREDENTIAL)
    _each(rest, _OUTCOME)
    return records._credential(first, rest)  # noqa: SLF001


def _message(first: Any, accepted: Any, deleted: Any, exposed: Any) -> Message:
    _each(first, _MESSAGE)
    _each((accepted, deleted, exposed), (_flag_or_none, _flag, _flag))
    return records._message(first, accepted, deleted, exposed)  # noqa: SLF001


def _anomaly(*values: Any) -> AnomalySeen:
    _each(values, _ANOMALY)
    return AnomalySeen(*values)


def _secret(length: Any, fingerprint: Any, strength: Any = None) -> Secret:
    if not _number(length) or not _text_or_none(fingerprint) or not (strength is None or _number(strength)):
        raise DamagedRecord("made of other parts than records are")
    return model._masked(length, fingerprint, strength)  # noqa: SLF001
