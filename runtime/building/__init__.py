"""Engines built on the device: what there is to build, which of what was built is best, and where it is kept."""
