"""Early exits: when an answer is sure enough, for a latency or an accuracy of choice, and whether leaving early pays."""
