"""The reader of message content."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.protocols import message
from analyzer.protocols.message import MessageReader, decode_words, file_name

MULTIPART = (
    b'From: anna@example.org\r\nSubject: two files\r\nContent-Type: multipart/mixed;\r\n\tBoundary="=_b1"\r\n\r\n'
    b"preamble\r\n--=_b1\r\nContent-Type: text/plain\r\n\r\n..hello\r\n-- \r\nsignature\r\n"
    b'--=_b1\r\nContent-Type: application/pdf; name="old.pdf"\r\ncontent-disposition: attachment;\r\n filename="in\\"voice.pdf"\r\n\r\n'
    b"JVBERi0=\r\n--=_b1\r\nContent-Type: message/rfc822\r\n\r\n"
    b"Subject: inner\r\nContent-Type: multipart/mixed; boundary=inner\r\n\r\n--inner\r\nContent-Type: image/png; name=cat.png\r\n\r\nxx\r\n"
    b"--inner--\r\n--=_b1--\r\n"
)


def read(data: bytes, cuts: list[int] | None = None, stuffed: bool = False) -> tuple[int, bytes, list[str]]:
    reader = MessageReader(1, 2, 3, stuffed)
    places = sorted({min(c, len(data)) for c in cuts or []} | {0, len(data)})
    for start, end in pairwise(places):
        reader.receive_data(b"##" + data[start:end] + b"\n\n.", 2, 2 + end - start)
    return reader.size, reader.header(), reader.attachments()


def test_multipart() -> None:
    size, header, names = read(MULTIPART)
    assert size == len(MULTIPART)
    assert header == MULTIPART[: MULTIPART.index(b"\r\n\r\n") + 2]
    assert names == ['in"voice.pdf', "cat.png"]


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_every_single_cut(line_end: bytes) -> None:
    data = MULTIPART.replace(b"\r\n", line_end)
    for stuffed in (False, True):
        whole = read(data, stuffed=stuffed)
        assert whole[2] == ['in"voice.pdf', "cat.png"]
        for cut in range(len(data)):
            assert read(data, [cut], stuffed) == whole
        assert read(data, list(range(len(data))), stuffed) == whole


@given(
    st.lists(
        st.sampled_from(
            [
                b"\r\n",
                b"\n",
                b".",
                b"-",
                b"--b",
                b"a: b",
                b"Content-Type: multipart/x; boundary=b",
                b"Content-Disposition: x; filename=f",
                b"\r",
                b"x",
            ]
        ),
        max_size=60,
    ).map(b"".join),
    st.lists(st.integers(0, 600), max_size=20),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_split_reads_the_same(data: bytes, cuts: list[int], stuffed: bool) -> None:
    assert read(data, cuts, stuffed) == read(data, stuffed=stuffed)


@given(st.lists(st.one_of(st.binary(max_size=40), st.integers(1, 5000)), max_size=30), st.booleans())
@settings(max_examples=200, deadline=None)
def test_never_raises(pieces: list[bytes | int], stuffed: bool) -> None:
    reader = MessageReader(0, 0, 0, stuffed)
    for piece in pieces:
        if isinstance(piece, int):
            reader.receive_gap(piece)
        else:
            reader.receive_data(piece, 0, len(piece))
    assert len(reader.header()) <= message.MAX_HEADER
    assert len(reader.attachments()) <= message.MAX_ATTACHMENTS


@pytest.mark.parametrize(
    ("body", "size"),
    [(b"", 0), (b"..\r\n", 3), (b"a\r\n..b\r\n", 7), (b"a..b\r\n", 6), (b"\r\n...\r\n", 6), (b"....\r\n", 5)],
)
def test_dots_are_unstuffed_exactly(body: bytes, size: int) -> None:
    for cut in range(len(body) + 1):
        assert read(body, [cut], stuffed=True)[0] == size
    assert read(body, stuffed=False)[0] == len(body)


def test_header_is_unstuffed() -> None:
    assert read(b"..a: b\r\n..c: d\r\n\r\ntext", stuffed=True)[1] == b".a: b\r\n.c: d\r\n"


def test_message_without_header() -> None:
    assert read(b"\r\nContent-Type: text/plain; name=x\r\n\r\n") == (38, b"", [])


def test_text_that_looks_like_a_part_names_nothing() -> None:
    part = b"--other\r\nContent-Disposition: attachment; filename=no.exe\r\n\r\n"
    assert read(b"Subject: x\r\n\r\n" + part)[2] == []
    assert (
        read(
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
            + part
            + b"--b\r\n\r\nContent-Disposition: x; filename=no\r\n\r\n"
        )[2]
        == []
    )


def test_gap_in_the_header_still_finds_parts() -> None:
    reader = MessageReader(0, 0, 0, False)
    reader.receive_data(b"Subject: x\r\nContent-Ty", 0, 22)
    reader.receive_gap(100)
    rest = b"\r\n\r\n--q\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nx\r\n--q--\r\n"
    reader.receive_data(rest, 0, len(rest))
    assert reader.attachments() == ["a.txt"]
    assert (reader.size, reader.missing, reader.header_complete) == (122 + len(rest), 100, False)


def test_limits() -> None:
    endless = b"x: " + b"y" * 200_000
    size, header, names = read(endless, list(range(0, 200_000, 997)))
    assert (size, len(header), names) == (len(endless), message.MAX_HEADER, [])
    many = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + b"--b\r\nContent-Disposition: a; filename=n\r\n\r\n\r\n" * 500
    )
    assert len(read(many)[2]) == message.MAX_ATTACHMENTS
    long = b"Content-Disposition: a; filename=" + b"n" * 5000 + b"\r\n\r\n"
    assert len(read(long)[2][0]) == message.MAX_NAME


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (b'attachment; filename="a b.txt"\n', "a b.txt"),
        (b"attachment; filename=a.txt; size=3\n", "a.txt"),
        (b"attachment; filename*=utf-8'de'%c3%a4.txt\n", "ä.txt"),
        (b'attachment; filename*0="one "; filename*1=two\n', "one two"),
        (b"attachment; filename*0*=iso-8859-1''%e4; filename*1*=%f6; filename*2=.c\n", "äö.c"),
        (b"attachment\ntext/plain; name==?utf-8?B?w6Q=?=", "ä"),
        (b'attachment; filename="=?iso-8859-1?Q?=E4_b?= =?utf-8?q?c?="\n', "ä bc"),
        (b"attachment; filename*=nonsense''%zz%41\n", "%zzA"),
        (b"attachment; x-filename=no\n", ""),
        (b'attachment; filename="cut', "cut"),
        (b"attachment; filename*=plain\n", "plain"),
    ],
)
def test_names_are_decoded(fields: bytes, name: str) -> None:
    assert file_name(fields) == name


@given(st.binary(max_size=80))
def test_decoding_never_raises(data: bytes) -> None:
    decode_words(data)
    decode_words(b"=?" + data + b"?b?" + data + b"?=")
    file_name(b"a; filename*=" + data + b"''" + data)
