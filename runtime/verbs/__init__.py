"""The verbs that a device needs, one module each: what `edgekit VERB` and `python3 BUNDLE VERB` run."""
