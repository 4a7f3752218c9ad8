"""The operator's side: the output of Run Command."""
