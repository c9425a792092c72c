"""Add a direction to a running denoiser: build it, apply it, measure how images answer (paper, section on steering)."""
