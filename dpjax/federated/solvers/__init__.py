"""Federated algorithms: what clients learn and send, and what the server makes of it."""

from dpjax.federated.solvers.broadcast import Broadcast
from dpjax.federated.solvers.fedavg import fedavg
from dpjax.federated.solvers.personalization import personalized
from dpjax.federated.solvers.proximal import adaptive_fedprox
from dpjax.federated.solvers.scaffold import scaffold
from dpjax.solver import Solver

__all__ = ["Broadcast", "Solver", "adaptive_fedprox", "fedavg", "personalized", "scaffold"]
