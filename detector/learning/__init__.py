"""The torch kit, which knows nothing of what is trained: devices, seeds, steps, state, pixels, backbones, runs."""
