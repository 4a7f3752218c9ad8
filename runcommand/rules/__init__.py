"""One file a family of causes. Pure: the model in, findings out."""
