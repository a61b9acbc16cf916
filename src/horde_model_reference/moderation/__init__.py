"""Propose, review, apply, revert: how the reference changes, each step one unit of work."""
