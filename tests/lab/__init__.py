"""The lab: a VM and a host in network namespaces of their own, the true addresses, and every way to
break them.
"""
