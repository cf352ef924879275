"""Text from traffic made safe to show: control characters, terminal escapes, bidi marks and lone surrogates become visible escapes."""

from __future__ import annotations


def visible(text: str) -> str:
    """``text`` with everything that does not print as itself escaped (``\\x1b``, ``\\u202e``); octets that were not UTF-8 as ``\\xe9``."""
    if text.isprintable():
        return text
    return "".join([character if character.isprintable() else escaped(character) for character in text])


def escaped(character: str) -> str:
    """One character as an escape; an octet that was not UTF-8 as itself."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\U{code:08x}"


def shorten(text: str, width: int) -> str:
    """``text`` made visible, at most ``width`` characters, with an ellipsis where it was cut."""
    text = visible(text)
    return text if len(text) <= width else text[: width - 1] + "…"


def shorten_path(path: str, width: int) -> str:
    """The same for the path of a file: its end stays, which tells it from others."""
    path = visible(path)
    return path if len(path) <= width else "…" + path[len(path) - width + 1 :]
