"""One module per family of rules: how a value is replaced once a plan says that it is."""
