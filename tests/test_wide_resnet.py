"""Wide residual networks: the published shape, blocks under every clipping engine, and what is turned away."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dpjax import Cohort, clipped_sum, example_gradient
from dpjax.models import build, cross_entropy_loss, from_nnx
from dpjax.models.model import count_params
from dpjax.models.resnet import Block

# Most of the time here is compilation, and these programs are too small to be worth optimising.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class OneBlock(nnx.Module):
    """Strides, a shortcut with a convolution, normalised groups, and logits."""

    def __init__(self, rngs: nnx.Rngs):
        self.block = Block(4, 6, 2, 2, "relu", rngs)
        self.head = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.block(x).mean((0, 1)))


@pytest.mark.parametrize("engine", ["bookkeeping", "microbatch"])
def test_a_block_is_clipped_alike_by_every_engine(engine):
    model = from_nnx(OneBlock)
    params = model.init(jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (3, 4, 4, 4))
    cohort = Cohort((inputs, jnp.array([0, 1, 2])), jnp.ones(3, bool))
    send = example_gradient(cross_entropy_loss(model))
    sums = [
        jit(clipped_sum(send, engine=each))(params, cohort, jax.random.key(2), jnp.float32(0.1))
        for each in ("materialize", engine)
    ]
    np.testing.assert_allclose(sums[0].norms, sums[1].norms, rtol=1e-5)
    for one, other in zip(jax.tree.leaves(sums[0].total), jax.tree.leaves(sums[1].total), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(("depth", "width", "parameters"), [(16, 4, 2_748_890), (28, 10, 36_479_194)])
def test_it_has_the_parameters_that_were_published(depth, width, parameters):
    """Zagoruyko & Komodakis, table 4: 2.7 million, 36.5 million."""
    model = build("wide_resnet", num_classes=10, input_shape=(32, 32, 3), depth=depth, width=width)
    assert count_params(jax.eval_shape(model.init, jax.random.key(0))) == parameters


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_shape": (64,)}, r"wide_resnet: input_shape is \(64,\), but it must be"),
        ({"input_shape": (3, 8, 1)}, "of 4 pixels a side or more"),
        ({"depth": 18}, "wide_resnet: depth is 18, but it must be 6 n [+] 4; use 10, 16"),
        ({"depth": 4}, "wide_resnet: depth is 4"),
        ({"width": 0}, "wide_resnet: width=0 must be"),
        ({"groups": 3}, "wide_resnet: groups is 3, but it must divide 16"),
        ({"activation": "step"}, "wide_resnet"),
    ],
)
def test_what_is_no_wide_resnet_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        build("wide_resnet", **{"num_classes": 3, "input_shape": (8, 8, 1)} | options)
