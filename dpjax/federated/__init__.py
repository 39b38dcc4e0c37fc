"""Federated learning on the same kernel: who the clients are, how they train, and how what they send is added up."""

from dpjax.federated.aggregation.dropouts import dropouts
from dpjax.federated.aggregation.homomorphic import homomorphic_aggregation
from dpjax.federated.aggregation.local_reports import local_privacy
from dpjax.federated.aggregation.robust import robust_aggregation
from dpjax.federated.aggregation.secure import distributed_noise, secure_aggregation
from dpjax.federated.compression import quantized, random_k, remember_residual, top_k
from dpjax.federated.corrupted_clients import corruptible, corruption, draw_corrupted, flip_labels
from dpjax.federated.partitions import (
    dirichlet_partition,
    iid_partition,
    natural_partition,
    quantity_partition,
    sampled_partition,
    shard_partition,
)
from dpjax.federated.process import FederatedProcess, ServerState, build_federated_averaging_process
from dpjax.federated.sketching import count_sketch
from dpjax.federated.solvers.broadcast import Broadcast
from dpjax.federated.solvers.fedavg import fedavg
from dpjax.federated.solvers.personalization import personalized
from dpjax.federated.solvers.proximal import adaptive_fedprox
from dpjax.federated.solvers.ranks import draw_ranks, ranked_clients
from dpjax.federated.solvers.scaffold import scaffold
from dpjax.solver import Solver

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
    "draw_ranks",
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
    "ranked_clients",
    "remember_residual",
    "robust_aggregation",
    "sampled_partition",
    "scaffold",
    "secure_aggregation",
    "shard_partition",
    "top_k",
]
