"""What recipes for classifiers share: where labelled pictures come from, their batches, and one training's state."""
