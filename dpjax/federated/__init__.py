"""Federated learning on the same kernel: who the clients are, and what they hold."""

from dpjax.federated.partitions import dirichlet_partition, iid_partition

__all__ = ["dirichlet_partition", "iid_partition"]
