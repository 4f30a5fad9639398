"""From a bundle to results inside a latency budget; Python 3.6 and numpy, no torch."""
