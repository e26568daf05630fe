"""Evaluates how well models dub people and sentences held out from training."""
