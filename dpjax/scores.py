"""How good predictions are: of classes that are unbalanced, and how far their confidence can be trusted; of numbers."""

import numpy as np
from jaxtyping import Float, Int

NAMES = ("balanced_accuracy", "auroc", "auprc", "f1", "calibration_error")
ERRORS = ("r2", "mae", "rmse")
_BINS = 15


def scores(logits: Float[np.ndarray, "rows classes"], labels: Int[np.ndarray, "rows"]) -> dict[str, float | None]:
    """Balanced accuracy, AUROC, AUPRC, F1 and calibration error of predictions.

    Formal guarantees: none of privacy. Of two classes the second is the positive one. Of more, AUROC, AUPRC and F1 are
    means over the classes that occur among the labels, each against the others.

    Args:
      logits: ``[rows, classes]``.
      labels: ``[rows]`` class numbers in ``[0, classes)``.

    Returns:
      ``balanced_accuracy``: mean recall of the classes that occur. ``auroc``: area under the receiver operating
      characteristic. ``auprc``: average precision. ``f1``: harmonic mean of precision and recall.
      ``calibration_error``: mean distance of confidence and accuracy over 15 bins of confidence, by their rows. All in
      [0, 1]; None for what one class alone leaves undefined, and for all where a logit is not finite.

    Raises:
      ValueError: no rows, or a label that is no class.

    Example:
      >>> logits = np.array([[2.0, 0.0], [1.0, 0.0], [0.5, 0.0], [0.0, 1.0]])
      >>> found = scores(logits, np.array([0, 0, 1, 1]))
      >>> found["balanced_accuracy"], found["auroc"], round(found["f1"], 3)
      (0.75, 1.0, 0.667)

    References:
      Guo et al., On Calibration of Modern Neural Networks, 2017 (https://arxiv.org/abs/1706.04599).
    """
    from sklearn import metrics  # a second to import, which a run without test rows need not wait for

    if not len(labels):
        raise ValueError("labels hold 0 rows; score at least one.")
    classes = logits.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels from {labels.min()} to {labels.max()} are not all in [0, {classes}), the logits' classes."
        )
    if not np.isfinite(logits).all():
        return dict.fromkeys(NAMES)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    chances = np.exp(shifted)
    chances /= chances.sum(axis=1, keepdims=True)
    guessed = logits.argmax(axis=1)
    occurring = np.unique(labels)
    asked = [1] if classes == 2 else occurring.tolist()
    both = [each for each in asked if 0 < (labels == each).sum() < len(labels)]
    # The log-odds of each class: in the order of the chances, which saturate at 1 and would tie.
    margins = {each: shifted[:, each] - _log_sum(np.delete(shifted, each, axis=1)) for each in both}

    def mean(values: list[float]) -> float | None:
        return float(np.mean(values)) if values else None

    return {
        "balanced_accuracy": float(np.mean([(guessed[labels == each] == each).mean() for each in occurring])),
        "auroc": mean([metrics.roc_auc_score(labels == each, margins[each]) for each in both]),
        "auprc": mean([metrics.average_precision_score(labels == each, margins[each]) for each in both]),
        "f1": mean(
            [_f1(labels == each, guessed == each) for each in asked if ((labels == each) | (guessed == each)).any()]
        ),
        "calibration_error": _calibration_error(chances.max(axis=1), guessed == labels),
    }


def number_scores(predictions: Float[np.ndarray, "rows"], labels: Float[np.ndarray, "rows"]) -> dict[str, float | None]:
    """R², mean absolute error and root of the mean squared error of predicted numbers.

    Formal guarantees: none of privacy.

    Args:
      predictions: ``[rows]``, in the labels' unit.
      labels: ``[rows]``, finite.

    Returns:
      ``r2``: 1 − squared error / variance of the labels, so that their mean has 0; None where all are one. ``mae`` and
      ``rmse`` in the labels' unit. None for all where a prediction is not finite.

    Raises:
      ValueError: no rows.

    Example:
      >>> number_scores(np.array([2.0, 4.0, 5.0]), np.array([1.0, 4.0, 7.0]))["mae"]
      1.0
    """
    if not len(labels):
        raise ValueError("labels hold 0 rows; score at least one.")
    if not np.isfinite(predictions).all():
        return dict.fromkeys(ERRORS)
    labels = labels.astype(np.float64)
    errors = predictions.astype(np.float64) - labels
    spread = float(np.square(labels - labels.mean()).sum())
    return {
        "r2": 1 - float(np.square(errors).sum()) / spread if spread > 0 else None,
        "mae": float(np.abs(errors).mean()),
        "rmse": float(np.sqrt(np.square(errors).mean())),
    }


def _log_sum(logits: Float[np.ndarray, "rows others"]) -> Float[np.ndarray, "rows"]:
    most = logits.max(axis=1)
    return most + np.log(np.exp(logits - most[:, None]).sum(axis=1))


def _f1(is_class: np.ndarray, guessed: np.ndarray) -> float:
    """0 where nobody guessed right, as of a class that is never guessed."""
    return float(2 * (is_class & guessed).sum() / max(is_class.sum() + guessed.sum(), 1))


def _calibration_error(confidence: Float[np.ndarray, "rows"], right: np.ndarray) -> float:
    place = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(right))
