"""Finding the subnets of a low-bit supernet that answer best within a budget, by evolution on a device's times and on accuracy."""
