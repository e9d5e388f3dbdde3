"""Alignment by fine-tuning: one frozen trunk, every role an adapter."""

__version__ = "0.1.0"
