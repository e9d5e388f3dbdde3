"""Proximal policy optimisation against a reward model, and its critic-free relatives."""
