"""`python -m training.small`: the recipe."""

import sys

from .recipe import main

if __name__ == "__main__":
    sys.exit(main())
