"""Kahneman–Tversky optimisation: a policy from answers said to be good or bad."""
