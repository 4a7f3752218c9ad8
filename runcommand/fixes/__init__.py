"""What mends a VM: advice for a person, and commands for a shell, which are made of validated words
only.
"""
