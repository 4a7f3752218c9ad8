"""The operator's side: what Run Command gave back."""
