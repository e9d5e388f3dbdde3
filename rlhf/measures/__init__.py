"""Measures of held-out rows: plain numbers in, plain numbers out. No model, no tensor, no I/O.

The `evaluate` stage writes its raw rows beside its metrics (pairs.jsonl, samples.jsonl, refusals.jsonl, losses.jsonl);
each `metrics` here computes the stage's numbers from such rows, again and the same.
"""
