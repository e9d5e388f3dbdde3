"""Odds ratio preference optimisation: a policy from pairs and demonstrations at once."""
