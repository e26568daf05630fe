"""Evaluates how well a system dubs real clips, with the voices of people whose mouths are seen."""
