"""The programs: one room a stage, `config.py` (light) and `run.py` (heavy). Found through the group `rlhf.stages`."""
