"""`python -m tnet` is the `tnet` command."""

import sys

from tnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
