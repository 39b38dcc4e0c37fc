"""Federated learning on the same kernel: who the clients are, how they train, and how what they send is added up."""

from dpjax.federated.compression import quantized, random_k, remember_residual, top_k
from dpjax.federated.corruption import corruptible, corruption, draw_corrupted, flip_labels
from dpjax.federated.faults import dropouts
from dpjax.federated.homomorphic import homomorphic_aggregation
from dpjax.federated.local import local_privacy
from dpjax.federated.partitions import (
    dirichlet_partition,
    iid_partition,
    natural_partition,
    quantity_partition,
    sampled_partition,
    shard_partition,
)
from dpjax.federated.personalization import personalized
from dpjax.federated.process import FederatedProcess, ServerState, build_federated_averaging_process
from dpjax.federated.proximal import adaptive_fedprox
from dpjax.federated.robust import robust_aggregation
from dpjax.federated.scaffold import scaffold
from dpjax.federated.secure import distributed_noise, secure_aggregation
from dpjax.federated.sketching import count_sketch
from dpjax.federated.solvers import Broadcast, Solver, fedavg

__all__ = [
    "Broadcast",
    "FederatedProcess",
    "ServerState",
    "Solver",
    "adaptive_fedprox",
    "build_federated_averaging_process",
    "corruptible",
    "corruption",
    "count_sketch",
    "dirichlet_partition",
    "distributed_noise",
    "draw_corrupted",
    "dropouts",
    "fedavg",
    "flip_labels",
    "homomorphic_aggregation",
    "iid_partition",
    "local_privacy",
    "natural_partition",
    "personalized",
    "quantity_partition",
    "quantized",
    "random_k",
    "remember_residual",
    "robust_aggregation",
    "sampled_partition",
    "scaffold",
    "secure_aggregation",
    "shard_partition",
    "top_k",
]
