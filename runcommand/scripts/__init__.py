"""What is pasted into Run Command: the templates of the two scripts, which ``build.py scripts``
fills in, and the start of the tool.
"""
