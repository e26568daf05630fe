"""Prepared data: how it is made, stored and read, and every random draw of it."""
