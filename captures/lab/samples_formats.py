"""Samples of what a wire, a tap and a file format can do to the same few conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from . import network, pcapfile, wire
from .accounts import message, password
from .clients import tls_context
from .laboratory import Finish, Laboratory, sample
from .network import MAIL, MAIL6
from .pcapfile import Packet

_ANNA: Final = password("anna")
_TO: Final = "eva@example.org"
_NOTE: Final = message(1, _TO)
_LONG: Final = message(
    2, _TO, body="".join(f"Line {n} of a letter that needs many packets to travel.\n" for n in range(500))
)


def trio(lab: Laboratory, server: str = MAIL, source: str = "") -> None:
    """A POP3, an IMAP and a submission session in clear, each with a login and a message."""
    with lab.pop3(server, source=source) as pop3:
        pop3.login("anna", _ANNA)
        pop3.retrieve(1)
        pop3.quit()
    with lab.imap(server, source=source) as imap:
        imap.login("eva", password("eva"))
        imap.fetch(1)
        imap.logout()
    with lab.smtp(server, source=source) as smtp:
        smtp.auth("PLAIN", "anna", _ANNA)
        smtp.mail(_NOTE, _TO)
        smtp.quit()


@sample(
    "bad-wire.pcap",
    "A wire that loses, doubles and reorders packets, seen at the client: real retransmissions, nothing missing",
    "scripted clients through a forwarder of ours (6 % lost, 6 % doubled, 12 % late); Dovecot, Postfix",
    interface="c1",
)
def bad_wire(lab: Laboratory) -> None:
    cable = wire.BadWire(loss=0.06, double=0.06, late=0.12, seed=7)
    try:
        server, source = network.WIRE_SERVER, network.WIRE_CLIENT
        trio(lab, server, source)
        with lab.imap(server, source=source) as imap:
            imap.login("boris", password("boris"), style="literal")
            imap.append(_LONG)
            imap.fetch(3)
            imap.logout()
        with lab.pop3(server, source=source) as pop3:
            pop3.auth("SCRAM-SHA-256", "anna", _ANNA)
            pop3.retrieve(2)
            pop3.quit()
        with lab.smtp(server, source=source) as smtp:
            smtp.starttls()
            smtp.auth("PLAIN", "anna", _ANNA)
            smtp.mail(_NOTE, _TO)
            smtp.quit()
    finally:
        cable.close()


def _with_holes(lab: Laboratory, packets: list[Packet]) -> list[Packet]:
    """Lose frames in the middle of the long messages, as a tap under load does."""
    kept, counts = [], dict.fromkeys((id(s) for s in lab.ledger.sessions), 0)
    for packet in packets:
        owner, found = lab.owner(packet), pcapfile.segment(packet)
        if owner and found and found.payload > 1000:
            counts[id(owner)] += 1
            if counts[id(owner)] in (3, 4, 9):
                continue
        kept.append(packet)
    for session in lab.ledger.sessions:
        # Their ends are there, so they count as messages; none of them is complete.
        session.completeness = "truncated"
        session.note = "three frames of its message are missing"
    return kept


@sample(
    "tap-loss.pcap",
    "The tap, not the wire, lost frames inside a message: RETR, APPEND and DATA with holes, readable before and after",
    "scripted clients, frames taken out afterwards; Dovecot, Postfix",
    finish=_with_holes,
)
def tap_loss(lab: Laboratory) -> None:
    with lab.smtp() as smtp:
        smtp.auth("PLAIN", "anna", _ANNA)
        smtp.mail(_LONG, "eva@example.org")
        smtp.quit()
    with lab.imap() as imap:
        imap.login("greta", "g")
        imap.append(_LONG)
        imap.command("NOOP")
        imap.logout()
    with lab.pop3() as pop3:
        pop3.login("greta", "g")
        if pop3.command("RETR 3", multiline=True).startswith("+OK"):
            pop3.message()
        pop3.quit()


def _tag(*tags: tuple[int, int]) -> Finish:
    return lambda _lab, packets: pcapfile.tagged(packets, *tags)


@sample(
    "vlan.pcap",
    "802.1Q tags, VLAN 110",
    "scripted clients, tags put in afterwards; Dovecot, Postfix",
    finish=_tag((0x8100, 110)),
)
def vlan(lab: Laboratory) -> None:
    trio(lab)


@sample(
    "qinq.pcap", "802.1ad around 802.1Q (QinQ)", "scripted clients, tags put in afterwards; Dovecot, Postfix",
    finish=_tag((0x88A8, 20), (0x8100, 143)),
)  # fmt: skip
def qinq(lab: Laboratory) -> None:
    trio(lab)


@sample(
    "any-sll2.pcap",
    "Recorded with `-i any`: Linux cooked capture v2",
    "scripted clients; Dovecot, Postfix",
    interface="any",
)
def any_sll2(lab: Laboratory) -> None:
    trio(lab)


@sample(
    "nanosecond.pcap", "pcap with nanosecond timestamps", "scripted clients; Dovecot, Postfix",
    options=("--time-stamp-precision=nano",),
    write=lambda _lab, path, packets: pcapfile.write(path, packets, nanoseconds=True),
)  # fmt: skip
def nanosecond(lab: Laboratory) -> None:
    trio(lab)


@sample("compressed.pcap.gz", "The file is compressed with gzip", "scripted clients; Dovecot, Postfix")
def compressed_gz(lab: Laboratory) -> None:
    trio(lab)


@sample(
    "compressed.pcap.zst", "The file is compressed with zstd", "scripted clients; Dovecot, Postfix", needs=("zstd",)
)
def compressed_zst(lab: Laboratory) -> None:
    trio(lab)


@sample("ipv6.pcap", "IPv6", "scripted clients; Dovecot, Postfix")
def ipv6(lab: Laboratory) -> None:
    trio(lab, MAIL6)


def _blocks(_lab: Laboratory, path: Path, packets: list[Packet]) -> None:
    middle = len(packets) // 2
    pcapfile.write_mixed_pcapng(path, packets[:middle], packets[middle:])


@sample(
    "blocks.pcapng",
    "pcapng with two sections (little and big-endian), three interfaces, nanoseconds with an offset, names, a comment, statistics, a block nobody knows",
    "scripted clients, file written by hand; Dovecot, Postfix",
    write=_blocks,
)
def blocks(lab: Laboratory) -> None:
    trio(lab)


def _from_marks(lab: Laboratory, packets: list[Packet]) -> list[Packet]:
    """Drop what came before the moment each session remembered."""
    kept = [p for p in packets if (owner := lab.owner(p)) is None or p.time_ns >= lab.marks.get(id(owner), 0)]
    for session in lab.ledger.sessions:
        session.completeness = "midstream"
    return kept


@sample(
    "midstream.pcap",
    "The recording began when the sessions were under way: before the login, after it, in the middle of a message, after STARTTLS, in TLS",
    "scripted clients, the beginnings taken out afterwards; Dovecot, Postfix",
    finish=_from_marks,
)
def midstream(lab: Laboratory) -> None:
    with lab.pop3() as pop3:
        lab.mark(pop3.session)
        pop3.login("anna", _ANNA)
        pop3.retrieve(1)
        pop3.quit()
    with lab.imap() as imap:
        lab.mark(imap.session)
        imap.login("eva", password("eva"))
        imap.fetch(1)
        imap.logout()
        imap.session.starttls = "unseen"
    with lab.imap() as imap:
        imap.login("eva", password("eva"))
        lab.mark(imap.session)
        imap.session.credentials.clear()
        imap.session.starttls = "unseen"
        imap.fetch(2)
        imap.logout()
    with lab.smtp() as smtp:
        smtp.auth("PLAIN", "anna", _ANNA)
        smtp.session.credentials.clear()
        lab.mark(smtp.session)
        smtp.session.starttls = "unseen"
        smtp.mail(_NOTE, _TO)
        smtp.quit()
    with lab.imap() as imap:
        imap.starttls()
        imap.login("anna", _ANNA)
        lab.mark(imap.session)
        imap.session.starttls, imap.session.tls_version, imap.session.midstream_tls = "unseen", None, True
        imap.session.tls_credentials.clear()
        imap.fetch(1)
        imap.logout()
    with lab.imap(port=993, tls=tls_context()) as imap:
        imap.login("anna", _ANNA)
        lab.mark(imap.session)
        imap.session.tls_version = None
        imap.session.tls_credentials.clear()
        imap.fetch(1)
        imap.logout()


def _only(sender: str) -> Finish:
    """Keep one direction: ``client`` or ``server``."""

    def finish(lab: Laboratory, packets: list[Packet]) -> list[Packet]:
        kept = []
        for packet in packets:
            owner, found = lab.owner(packet), pcapfile.segment(packet)
            from_client = (
                owner is not None
                and found is not None
                and (found.source, found.source_port) == (owner.client, owner.client_port)
            )
            if from_client == (sender == "client"):
                kept.append(packet)
        for session in lab.ledger.sessions:
            session.completeness = "one_sided"
            if sender == "client":
                # What the client sends whole is a message; what it only asks for is not.
                session.messages = session.messages if session.protocol == "smtp" else 0
                session.starttls = "unseen"
                for credential in session.credentials:
                    credential.outcome = "unknown"
            else:
                session.messages = session.messages if session.protocol != "smtp" else 0
                session.credentials.clear()
        return kept

    return finish


@sample(
    "client-only.pcap", "Only what the clients sent", "scripted clients, one direction taken out afterwards; Dovecot, Postfix",
    finish=_only("client"),
)  # fmt: skip
def client_only(lab: Laboratory) -> None:
    trio(lab)


@sample(
    "server-only.pcap", "Only what the servers sent", "scripted clients, one direction taken out afterwards; Dovecot, Postfix",
    finish=_only("server"),
)  # fmt: skip
def server_only(lab: Laboratory) -> None:
    trio(lab)


def _short(lab: Laboratory, packets: list[Packet]) -> list[Packet]:
    for session in lab.ledger.sessions:
        session.completeness, session.messages, session.starttls = "truncated", 0, "unseen"
        session.note = "offers and messages lie behind the cut"
    return pcapfile.cut(packets, 128)


@sample(
    "snaplen.pcap", "Recorded with a snap length of 128: logins are whole, capabilities and messages are cut",
    "scripted clients, cut afterwards; Dovecot, Postfix", finish=_short,
    write=lambda _lab, path, packets: pcapfile.write(path, packets, snaplen=128),
)  # fmt: skip
def snaplen(lab: Laboratory) -> None:
    trio(lab)
