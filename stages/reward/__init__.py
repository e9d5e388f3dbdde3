"""A reward model from preference pairs."""
