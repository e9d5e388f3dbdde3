"""Pure tensor functions of reinforcement learning: no model, no config, no I/O."""
