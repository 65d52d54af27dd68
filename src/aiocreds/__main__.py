"""``python -m aiocreds``."""

# PYTHON_ARGCOMPLETE_OK

from __future__ import annotations

import sys

from aiocreds.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
