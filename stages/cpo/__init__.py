"""Contrastive preference optimisation: a policy from pairs, without a reference."""
