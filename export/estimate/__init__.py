"""Predicting how long a graph takes on a Jetson that is not at hand, from what was published of others there."""
