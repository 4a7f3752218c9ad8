"""One module a command: its arguments (``add``) and what it does (``run``)."""
