"""Sampling: a policy's own answers, scored, as examples for other stages."""
