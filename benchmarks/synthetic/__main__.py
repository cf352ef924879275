"""``python -m synthetic NAME PATH [SCALE]``: generate one capture, unless it is there already."""

from __future__ import annotations

import sys
from pathlib import Path

from .captures import PLANS, cached_capture


def main() -> None:
    """Generate, and say what it holds."""
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in PLANS:
        sys.exit(f"usage: python -m synthetic {{{','.join(PLANS)}}} PATH [SCALE]")
    path = Path(sys.argv[2])
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = cached_capture(path, sys.argv[1], scale=float(sys.argv[3]) if len(sys.argv) > 3 else 1.0)
    print(f"{path}: {counts.size:,} octets, {counts.packets:,} packets, {counts.mail_packets:,} of mail")


if __name__ == "__main__":
    main()
