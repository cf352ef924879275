"""What a client says to a proxy before the protocol begins: how long it is, and where it leads.

SOCKS 4 and 5 (RFC 1928), HTTP CONNECT (RFC 9110 section 9.3.6), the PROXY protocol 1 and 2, and SSLproxy's header line.
"""

from __future__ import annotations

from mypy_extensions import i64


def preface_length(client: bytes, server: bytes) -> tuple[int, int]:
    """Octets of a proxy's preface at the start of both sides: (client's, server's).

    (0, 0) where there is none; (-1, -1) where more octets are needed to tell.
    """
    if not client:
        return (0, 0)
    first = client[0]
    if first == 5:
        return _socks5(client, server)
    if first == 4:
        return _socks4(client, server)
    if client.startswith(b"CONNECT ") or b"CONNECT ".startswith(client):
        return _connect(client, server)
    if client.startswith((b"PROXY TCP", b"PROXY UNKNOWN", b"SSLproxy: ")):
        line: i64 = client.find(b"\n")
        return (-1, -1) if line < 0 else (line + 1, 0)
    if len(client) < 10 and (b"PROXY TCP".startswith(client) or b"SSLproxy: ".startswith(client)):
        return (-1, -1)
    signature = b"\r\n\r\n\x00\r\nQUIT\n"
    if client.startswith(signature):
        if len(client) < 16:
            return (-1, -1)
        total = 16 + (client[14] << 8) + client[15]
        return (-1, -1) if len(client) < total else (total, 0)
    if len(client) < 12 and signature.startswith(client):
        return (-1, -1)
    return (0, 0)


def _connect(client: bytes, server: bytes) -> tuple[int, int]:
    """HTTP CONNECT (RFC 9110 section 9.3.6), asked for again on the same connection where the proxy wants to know who asks (section 15.5.8)."""
    asked: i64 = 0
    answered: i64 = 0
    while True:
        end: i64 = client.find(b"\r\n\r\n", asked)
        reply: i64 = server.find(b"\r\n\r\n", answered)
        if end < 0 or reply < 0:
            is_http = server.startswith(b"HTTP/1.", answered) or b"HTTP/1.".startswith(server[answered:])
            return (-1, -1) if is_http else (0, 0)
        head = server[answered:reply]
        asked = end + 4
        answered = reply + 4
        if not head[8:].startswith(b" 407"):
            return (asked, answered)
        answered += _content_length(head)
        if not (client.startswith(b"CONNECT ", asked) or b"CONNECT ".startswith(client[asked:])):
            return (asked, answered)


def _content_length(head: bytes) -> int:
    """The octets of the body that a reply's head announces; 0 where it tells none."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            value = value.strip()
            return int(value) if value.isdigit() and len(value) <= 9 else 0
    return 0


def _socks5(client: bytes, server: bytes) -> tuple[int, int]:
    """RFC 1928: greeting, choice of method (0, or 2 with RFC 1929), CONNECT request, reply."""
    if len(client) < 2:
        return (-1, -1)
    at = 2 + client[1]
    if client[1] == 0 or client[1] > 16:
        return (0, 0)
    if len(server) < 2:
        return (-1, -1)
    if server[0] != 5:
        return (0, 0)
    back = 2
    if server[1] == 2:
        # user name and password of the proxy: version, two counted strings; two octets of reply
        if len(client) < at + 2:
            return (-1, -1)
        name = client[at + 1]
        if len(client) < at + 3 + name:
            return (-1, -1)
        at += 3 + name + client[at + 2 + name]
        back += 2
    request = _socks_address(client, at)
    reply = _socks_address(server, back)
    if request == 0 or reply == 0:
        return (0, 0)
    if request < 0 or reply < 0:
        return (-1, -1)
    return (request, reply)


def _socks_address(data: bytes, at: int) -> int:
    """End of a SOCKS 5 request or reply that begins at ``at``; -1 for too few octets, 0 for none."""
    if len(data) < at + 5:
        return -1
    if data[at] != 5:
        return 0
    kind = data[at + 3]
    if kind == 1:
        end = at + 10
    elif kind == 4:
        end = at + 22
    elif kind == 3:
        end = at + 7 + data[at + 4]
    else:
        return 0
    return end if len(data) >= end else -1


def _socks4(client: bytes, server: bytes) -> tuple[int, int]:
    """SOCKS 4 and 4a: one request ended by NUL (twice with a name), eight octets of reply."""
    if len(client) < 9:
        return (-1, -1)
    if client[1] != 1:
        return (0, 0)
    end: i64 = client.find(b"\0", 8)
    if end < 0:
        return (-1, -1) if len(client) < 512 else (0, 0)
    if client[4:7] == b"\0\0\0" and client[7] != 0:
        end = client.find(b"\0", end + 1)
        if end < 0:
            return (-1, -1) if len(client) < 512 else (0, 0)
    if len(server) < 8:
        return (-1, -1)
    if server[0] != 0:
        return (0, 0)
    return (end + 1, 8)


def tunnel_port(preface: bytes) -> int:
    """The port that a preface asks a SOCKS or HTTP proxy for; 0 where it names none."""
    if preface[:1] == b"\x05":
        return preface[-2] << 8 | preface[-1]
    if preface[:1] == b"\x04":
        return preface[2] << 8 | preface[3]
    words = preface.split(b"\n", 1)[0].split()
    if len(words) > 1 and words[0] == b"CONNECT":
        port = words[1].rpartition(b":")[2]
        if port.isdigit() and len(port) <= 5:
            return int(port)
    return 0
