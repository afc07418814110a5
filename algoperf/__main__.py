"""`python -m algoperf` is `algoperf`."""

import sys

from algoperf.cli import main

if __name__ == "__main__":
    sys.exit(main())
