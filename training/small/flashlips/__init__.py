"""A small FlashLips: the recipe of its parts."""
