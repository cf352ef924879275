"""Octets of a capture from wherever they come: a file descriptor, and through gzip, zstd, lz4, xz or bzip2.

A source gives chunks of at most :data:`CHUNK` octets until it gives an empty one. Memory stays bounded whatever the input
claims to hold. Compression is told by content. Damaged or cut compressed data are used as far as they go: the source
then simply ends, ``trouble`` says why and ``lost`` counts the octets of the file that gave nothing.

gzip, bzip2 and xz come with Python; zstd and lz4 need the packages ``zstandard`` (or Python 3.14) and ``lz4``, imported
only when such a file is met.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, Final

from analyzer.errors import CaptureUnreadable

if TYPE_CHECKING:
    import hashlib

#: Octets read, and handed on, at a time. Larger chunks were measured several times slower (page faults).
CHUNK: Final = 65536
#: Octets of zstd data decoded at a time: its blocks can expand 32,000 times, and the decoder has no output limit.
ZSTD_STEP: Final = 512
#: Largest zstd window accepted, the limit of the zstd command as well.
ZSTD_WINDOW: Final = 1 << 27
#: Memory an xz decoder may take; ``xz -9`` needs 65 MiB.
XZ_MEMORY: Final = 160 << 20
#: Steps in which damaged gzip data are read once more, to get all that stands before the damage.
RESCUE_STEP: Final = 64

GZIP_MAGIC: Final = b"\x1f\x8b\x08"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
LZ4_MAGIC: Final = b"\x04\x22\x4d\x18"
XZ_MAGIC: Final = b"\xfd7zXZ\x00"
BZIP2_MAGIC: Final = b"BZh"


def compression_of(head: bytes) -> str:
    """The compression told by the first octets of a file: its name, or an empty string."""
    if head.startswith(GZIP_MAGIC):
        return "gzip"
    if head.startswith(ZSTD_MAGIC):
        return "zstd"
    if head.startswith(LZ4_MAGIC):
        return "lz4"
    if head.startswith(XZ_MAGIC):
        return "xz"
    if head.startswith(BZIP2_MAGIC) and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return "bzip2"
    # A skippable frame (pzstd and others write one first) says nothing about itself: what follows does.
    if head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F and len(head) >= 8:
        behind = 8 + int.from_bytes(head[4:8], "little")
        return "lz4" if head[behind : behind + 4] == LZ4_MAGIC else "zstd"
    return ""


class Source:
    """Gives the octets of an input chunk by chunk."""

    def __init__(self) -> None:
        #: why the source ended early; empty where it did not
        self.trouble = ""
        #: octets of the file that gave nothing, because of that
        self.lost = 0

    def read(self) -> bytes:
        """The next octets, at most :data:`CHUNK`; empty at the end."""
        return b""

    def peek(self, size: int) -> bytes:
        """At least ``size`` of the next octets, or all that are left, without using them up."""
        return b""


class Pushed(Source):
    """A source whose octets can be looked at before they are used."""

    def __init__(self) -> None:
        super().__init__()
        self._pushed: list[bytes] = []

    def fetch(self) -> bytes:
        """The next octets from below."""
        return b""

    def read(self) -> bytes:
        if self._pushed:
            return self._pushed.pop(0)
        return self.fetch()

    def peek(self, size: int) -> bytes:
        total = sum(len(chunk) for chunk in self._pushed)
        while total < size:
            chunk = self.fetch()
            if not chunk:
                break
            self._pushed.append(chunk)
            total += len(chunk)
        return b"".join(self._pushed)


class FileSource(Pushed):
    """The octets of an open file descriptor, which stays the caller's to close.

    A read error at the start raises CaptureUnreadable; a later one ends the source with ``trouble``.
    """

    def __init__(self, descriptor: int, name: str, size: int = -1) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.name = name
        #: octets of the file; -1 where nobody knows
        self.size = size
        #: octets read so far
        self.position = 0
        #: digests what passes, where the input cannot be read twice
        self.digest: hashlib._Hash | None = None
        self._ended = False

    def fetch(self) -> bytes:
        if self._ended:
            return b""
        try:
            chunk = os.read(self.descriptor, CHUNK)
        except OSError as error:
            reason = error.strerror or str(error)
            if self.position == 0:
                raise CaptureUnreadable(f"{self.name}: cannot be read ({reason})") from error
            self.trouble = f"could not be read beyond octet {self.position} ({reason})"
            self.lost = max(0, self.size - self.position)
            self._ended = True
            return b""
        self.position += len(chunk)
        if self.digest is not None:
            self.digest.update(chunk)
        return chunk


class Decoder:
    """One member (gzip), frame (zstd, lz4) or stream (xz, bzip2) of compressed data."""

    def __init__(self) -> None:
        #: the member is complete
        self.eof = False
        #: no more can come without further input
        self.hungry = True
        #: what followed the complete member
        self.rest = b""
        #: what :meth:`decode` raises on damage
        self.errors: tuple[type[Exception], ...] = (OSError, ValueError, EOFError, MemoryError)

    def decode(self, octets: bytes) -> bytes:
        """Up to :data:`CHUNK` octets (zstd: more) from ``octets``, to be given only when hungry. Raises on damage."""
        return b""

    def rescue(self) -> bytes:
        """After :meth:`decode` has raised: the octets that still came before the damage."""
        return b""


class GzipDecoder(Decoder):
    """For zlib, whose decoder can be copied, so that damage costs only what stands behind it."""

    def __init__(self) -> None:
        import zlib

        super().__init__()
        self.errors = (zlib.error, MemoryError)
        self._inflate: Any = zlib.decompressobj(31)
        self._before: Any = None
        self._input = b""

    def decode(self, octets: bytes) -> bytes:
        if not self.hungry:
            octets = self._inflate.unconsumed_tail
        self._before = self._inflate.copy()
        self._input = octets
        output: bytes = self._inflate.decompress(octets, CHUNK)
        self.eof = self._inflate.eof
        self.rest = self._inflate.unused_data
        # A full chunk of output may have more behind it inside the decoder, even without input.
        self.hungry = not self._inflate.unconsumed_tail and len(output) < CHUNK
        return output

    def rescue(self) -> bytes:
        output: list[bytes] = []
        inflate = self._before
        step = RESCUE_STEP
        position = 0
        while position < len(self._input) and sum(map(len, output)) < CHUNK:
            before = inflate.copy()
            try:
                output.append(inflate.decompress(self._input[position : position + step]))
                position += step
            except self.errors:
                if step == 1:
                    break
                inflate = before
                step = 1
        return b"".join(output)


class LimitedDecoder(Decoder):
    """For the decoders of bz2, lzma, lz4 and compression.zstd, which take a limit and keep their input."""

    def __init__(self, decompressor: Any, error: type[Exception]) -> None:
        super().__init__()
        self.errors = (*self.errors, error)
        self._decompressor = decompressor

    def decode(self, octets: bytes) -> bytes:
        output: bytes = self._decompressor.decompress(octets, max_length=CHUNK)
        self.eof = self._decompressor.eof
        self.rest = (self._decompressor.unused_data or b"") if self.eof else b""
        self.hungry = self._decompressor.needs_input
        return output


class ZstdDecoder(Decoder):
    """For the ``zstandard`` package, whose push interface has no output limit: it is fed in small steps."""

    def __init__(self, zstandard: Any) -> None:
        super().__init__()
        self.errors = (zstandard.ZstdError, MemoryError)
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()
        self._pending = b""
        self._used = 0

    def decode(self, octets: bytes) -> bytes:
        if octets:
            self._pending = octets
            self._used = 0
        output = b""
        while not output and not self.eof and self._used < len(self._pending):
            step = self._pending[self._used : self._used + ZSTD_STEP]
            self._used += len(step)
            output = self._decompressor.decompress(step)
            if self._decompressor.eof:
                self.eof = True
                self.rest = self._decompressor.unused_data + self._pending[self._used :]
        self.hungry = self._used >= len(self._pending)
        return output


def decoder_of(compression: str, name: str) -> Decoder:
    """The decoder for a compression. Raises CaptureUnreadable where its package is missing."""
    if compression == "gzip":
        return GzipDecoder()
    if compression == "bzip2":
        import bz2

        return LimitedDecoder(bz2.BZ2Decompressor(), OSError)
    if compression == "xz":
        import lzma

        return LimitedDecoder(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY), lzma.LZMAError)
    if compression == "lz4":
        try:
            import lz4.frame
        except ImportError as error:
            raise _missing(name, "lz4", "lz4") from error
        return LimitedDecoder(lz4.frame.LZ4FrameDecompressor(), RuntimeError)
    try:
        import zstandard
    except ImportError as error:
        try:
            zstd: Any = importlib.import_module("compression.zstd")
        except ImportError:
            raise _missing(name, "zstd", "zstandard") from error
        return LimitedDecoder(zstd.ZstdDecompressor(), zstd.ZstdError)
    return ZstdDecoder(zstandard)


def _missing(name: str, compression: str, package: str) -> CaptureUnreadable:
    return CaptureUnreadable(
        f"{name}: is compressed with {compression}, which needs the Python package {package} "
        f"(pip install {package}), or decompress it first"
    )


class CompressedSource(Pushed):
    """What another source holds, decompressed: all members one after another."""

    def __init__(self, below: Source, compression: str, file: FileSource) -> None:
        super().__init__()
        self.compression = compression
        self._below = below
        self._file = file
        self._decoder: Decoder = decoder_of(compression, file.name)
        # Something of the present member has been fed.
        self._begun = False
        self._ended = False
        self._output: list[bytes] = []
        # Octets handed on so far.
        self._given = 0

    def fetch(self) -> bytes:
        while not self._ended and not self._output:
            self._step()
        if not self._output:
            return b""
        chunk = self._output.pop(0)
        self._given += len(chunk)
        return chunk

    def _step(self) -> None:
        decoder = self._decoder
        octets = b""
        if decoder.eof:
            # Between members: padding of zeros is usual, other octets are not ours.
            octets = decoder.rest.lstrip(b"\0")
            while len(octets) < 18:
                more = self._below.read()
                if not more:
                    break
                octets = (octets + more).lstrip(b"\0")
            if not octets:
                self._finish("")
                return
            kind = compression_of(octets)
            # A skippable frame between lz4 frames is taken for zstd where nothing of the next frame is in sight.
            if kind != self.compression and (kind, self.compression) != ("zstd", "lz4"):
                self._finish(f"has {self.compression} data followed by something else", len(octets))
                return
            decoder = self._decoder = decoder_of(self.compression, self._file.name)
            self._begun = False
        elif decoder.hungry:
            octets = self._below.read()
            if not octets:
                self._finish(f"ends in the middle of its {self.compression} data" if self._begun else "")
                return
        self._begun = True
        try:
            output = decoder.decode(octets)
        except decoder.errors as error:
            self._fail(error, len(octets))
            return
        self._give(output)

    def _give(self, output: bytes) -> None:
        for start in range(0, len(output), CHUNK):
            self._output.append(output[start : start + CHUNK])

    def _fail(self, error: Exception, size: int) -> None:
        self._give(self._decoder.rescue())
        if self._given == 0 and not self._output:
            raise CaptureUnreadable(
                f"{self._file.name}: its {self.compression} data are broken from the start ({error}); "
                f"fetch the file again, or repair it"
            ) from error
        self._finish(f"has broken {self.compression} data near octet {self._file.position} ({error})", size)

    def _finish(self, trouble: str, unused: int = 0) -> None:
        self._ended = True
        self.trouble = self._below.trouble or trouble
        if trouble and self._file.size >= 0:
            unused += max(0, self._file.size - self._file.position)
        self.lost = unused + self._below.lost
