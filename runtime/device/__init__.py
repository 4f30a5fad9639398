"""What the device is and does: its fingerprint, clocks, power and load, and how soon it lets our threads run."""
