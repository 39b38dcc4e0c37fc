"""What one unit sends: an example's gradient, a user's gradient, a federated client's update."""

from dpjax.contributions.clients import LocalTraining, client_delta, local_training
from dpjax.contributions.gradients import example_gradient, user_gradient
from dpjax.contributions.losses import AugmentFn
from dpjax.contributions.private_clients import private_client_delta
from dpjax.contributions.records import gather_records

__all__ = [
    "AugmentFn",
    "LocalTraining",
    "client_delta",
    "example_gradient",
    "gather_records",
    "local_training",
    "private_client_delta",
    "user_gradient",
]
