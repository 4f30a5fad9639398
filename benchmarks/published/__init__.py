"""Networks whose latency on Jetsons others have published, drawn as graphs without weights, and those records."""
