"""Lets `python3 -m edgekit VERB ...` do what `edgekit VERB ...` does."""

import sys

from edgekit.cli import main

if __name__ == "__main__":
    sys.exit(main())
