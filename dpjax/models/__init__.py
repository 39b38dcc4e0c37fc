"""Models: pairs of pure functions, built of Flax NNX, brought from Linen, or written by hand."""

from dpjax.models.adapters import from_linen, from_nnx
from dpjax.models.convolution import Conv, im2col_conv, max_pool
from dpjax.models.convolutional_networks import ConvBlock, cnn
from dpjax.models.dense import logistic, mlp
from dpjax.models.model import Model, cross_entropy_loss, squared_error_loss
from dpjax.models.registry import MODELS, build
from dpjax.models.text import text_mlp

__all__ = [
    "MODELS",
    "Conv",
    "ConvBlock",
    "Model",
    "build",
    "cnn",
    "cross_entropy_loss",
    "from_linen",
    "from_nnx",
    "im2col_conv",
    "logistic",
    "max_pool",
    "mlp",
    "squared_error_loss",
    "text_mlp",
]
