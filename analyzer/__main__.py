"""The ``mailtap`` command, and ``python -m analyzer``."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command line and leave with its exit code."""
    # One run, then the process ends: the cycle collector would only walk over modules and records, from their import on.
    gc.disable()
    from analyzer.cli import main as run

    run()


if __name__ == "__main__":
    main()
