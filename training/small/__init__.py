"""The built-in model, KeySync small: the recipe that trains it, and its report."""
