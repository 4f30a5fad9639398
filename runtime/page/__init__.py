"""The page that `edgekit report` writes: what was measured of a bundle, as pictures that a browser shows without a network."""
