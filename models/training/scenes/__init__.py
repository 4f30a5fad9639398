"""Stereo scenes that edgekit renders itself, so that AnyNet learns from exact ground truth and nobody's pictures."""
