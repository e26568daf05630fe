"""Evaluation of systems that make a talking head of one picture."""
