"""An embedded Azure host and a model of the network to it: for ``demo`` and for the tests."""
