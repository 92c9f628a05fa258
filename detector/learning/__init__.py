"""Model-independent PyTorch helpers: devices, seeds, steps, state, pixels, backbones, runs."""
