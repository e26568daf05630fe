"""Prepared data: how it is made, stored, read and sampled."""
