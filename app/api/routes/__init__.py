"""One module per endpoint: parse, call one service, answer."""
