"""The real Azure CLI against a stand-in for Azure on loopback, which runs what it is sent in a VM
of the lab.
"""
