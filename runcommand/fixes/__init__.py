"""What fixes a VM: advice for a person, and commands for a shell.

Commands are made of validated words only.
"""
