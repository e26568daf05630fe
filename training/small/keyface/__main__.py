"""`python -m training.small.keyface`."""

import sys

from .recipe import main

if __name__ == "__main__":
    sys.exit(main())
