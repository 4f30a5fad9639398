"""What the scheduler would have made of frames: runs that were recorded or modelled, on a clock that is set, beside rivals and an oracle."""
