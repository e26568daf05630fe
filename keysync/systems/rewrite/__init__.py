"""Rewrite: the clip's own mouths, chosen by the speech and warped into place."""
