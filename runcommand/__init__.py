"""imds-check finds the single reason an Azure VM cannot reach IMDS, and how to fix it."""

__version__ = "0.1.0"
