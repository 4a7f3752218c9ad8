"""imds-check: names the one cause why an Azure VM cannot use the Instance Metadata Service, and how to mend it."""

__version__ = "0.1.0"
