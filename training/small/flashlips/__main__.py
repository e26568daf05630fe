"""`python -m training.small.flashlips`."""

import sys

from .recipe import main

if __name__ == "__main__":
    sys.exit(main())
