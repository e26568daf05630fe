"""The small model that comes with KeySync: the recipe that trains it anew, and its report."""
