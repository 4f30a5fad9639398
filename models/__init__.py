"""Architectures as the papers define them, their checkpoints, and the cut into stages."""
