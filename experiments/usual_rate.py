"""Learning rates where nobody says one: of classes, of numbers, whose loss is steeper, and of images to a CNN."""

from omegaconf import OmegaConf

OF_CLASSES = 0.5
OF_NUMBERS = 0.1
OF_CNN = 0.1


def sgd_rate(target: str, clients_per_round: int | None, algorithm: str, model: str) -> float:
    """The step size of ``optimizer=sgd`` that a run has unless it is told another.

    The second derivative of the squared error by what the model says is 2, that of the cross-entropy at most 1/4 for
    two classes, and less the surer a model is. At 0.5, with momentum 0.9, a perceptron on tables of numbers diverges
    without privacy, and is worse than the mean of the labels at ε=1; at 0.1 neither. A CNN on images
    of 28 × 28 stays at chance at 0.5 without privacy, and on 16 × 16 for some seeds at 0.2; at 0.1 it learns, and with
    ε=8 too.

    Args:
      target: ``data.target`` of the config.
      clients_per_round: of the config; None: it trains centrally.
      algorithm: ``federated.algorithm``; but for fedsgd, a server's step is no gradient of the loss.
      model: ``model.name``.

    Example:
      >>> sgd_rate("class", None, "fedavg", "mlp"), sgd_rate("number", None, "fedavg", "mlp")
      (0.5, 0.1)
      >>> sgd_rate("class", None, "fedavg", "cnn"), sgd_rate("number", 40, "fedavg", "mlp")
      (0.1, 0.5)
    """
    if clients_per_round is not None and algorithm != "fedsgd":
        return OF_CLASSES
    if target == "number":
        return OF_NUMBERS
    return OF_CNN if model == "cnn" else OF_CLASSES


def client_rate(target: str, clients_per_round: int | None, algorithm: str) -> float:
    """The step size of local training that a run has unless it is told another: the same loss, and so the same reason.

    Args:
      target: ``data.target`` of the config.
      clients_per_round: of the config; None: it trains centrally, and no client does.
      algorithm: ``federated.algorithm``; clients of fedsgd take no steps.

    Example:
      >>> client_rate("class", 40, "fedavg"), client_rate("number", 40, "fedavg")
      (0.5, 0.1)
    """
    takes_steps = clients_per_round is not None and algorithm != "fedsgd"
    return OF_NUMBERS if target == "number" and takes_steps else OF_CLASSES


OmegaConf.register_new_resolver("sgd_rate", sgd_rate, replace=True)
OmegaConf.register_new_resolver("client_rate", client_rate, replace=True)
