"""The entry of ``aiocreds`` and ``python -m aiocreds``."""

# PYTHON_ARGCOMPLETE_OK

from __future__ import annotations

import sys


def main() -> int:
    """Run the command; Ctrl-C ends it without a traceback, also while its modules are loaded.

    Returns:
        the exit status.
    """
    try:
        from aiocreds.cli import main as command  # loading takes long enough to be interrupted

        return command.main()
    except KeyboardInterrupt:
        return 128 + 2


if __name__ == "__main__":
    sys.exit(main())
