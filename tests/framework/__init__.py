"""Which types and members of .NET Framework 4.6.2 ``imds-check.ps1`` uses."""
