"""Dubs that are damaged on purpose and by how much is known: do the measures of the library rank them right?"""
