"""How the shipped weights were made: every family's recipe after its paper, and the loop, checkpoints and data that recipes share."""
