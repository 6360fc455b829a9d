"""Shared by the tests of models: how any model is made for a data shape and fitted in short, and data to learn."""

import math
import warnings

import numpy as np
import torch
from torch import Tensor

import submanifold as sm
from submanifold import models
from submanifold.models import Model
from submanifold.models.catalogue import parameters_of
from submanifold.transport import circular_wasserstein

WEIGHTS = torch.tensor([0.2, 0.3, 0.5])
MEANS = torch.tensor([[1.0, 3.0], [4.5, 4.5], [4.0, 1.5]])
WIDTHS = torch.tensor([0.5, 0.7, 0.4])
"""A mixture of three Gaussians in the plane, off centre and not of unit scale."""


LATTICE = ("categorical-vae", "logistic-vae", "pixelcnn")
"""Models of values on evenly spaced levels."""
IMAGES = ("image-flow", "pixelcnn")
"""Models of images, and no vectors."""


def draw(n, seed):
    """`n` points of the mixture."""
    generator = torch.Generator().manual_seed(seed)
    k = torch.multinomial(WEIGHTS, n, replacement=True, generator=generator)
    return MEANS[k] + WIDTHS[k, None] * torch.randn(n, 2, generator=generator)


def low_rank_data(shape, n, rank=2, seed=0):
    """Data of linear rank `rank` plus a little noise, so that models with few latents learn something in few steps."""
    generator = torch.Generator().manual_seed(seed)
    D = math.prod(shape)
    factors = torch.randn(n, rank, generator=generator) @ torch.randn(rank, D, generator=generator)
    return (3 + factors + 0.05 * torch.randn(n, D, generator=generator)).reshape(n, *shape)


def make(name, shape, latent_dim=2, seed=0, **kwargs) -> Model:
    """The registered model `name` for data of `shape`, with small networks."""
    torch.manual_seed(seed)
    small = {"latent_dim": latent_dim, "hidden": (32,), "levels": 32}
    accepted = parameters_of(name)
    return models.create(name, shape, **({k: v for k, v in small.items() if k in accepted} | kwargs))


def fit_briefly(model: Model, x: Tensor, steps=30, lr=3e-3) -> Model:
    """Go through the stages as the trainer does, with `steps` full-batch steps of Adam each."""
    torch.manual_seed(0)
    for stage in model.eval().stages():
        with torch.no_grad():
            data = x if stage.transform is None else stage.transform(x)
        if stage.prepare is not None:
            stage.prepare(data)
        model.train()
        for objective in stage.objectives:
            optimiser = torch.optim.Adam(objective.parameters, lr)
            for _ in range(steps):
                optimiser.zero_grad()
                scalar(objective.loss(data)).backward()
                optimiser.step()
        model.eval()
        if stage.finish is not None:
            stage.finish(x)
    return model


def scalar(loss) -> Tensor:
    """The term that is minimised, of what an objective returns."""
    return loss["loss"] if isinstance(loss, dict) else loss


def check_learns_the_circle(model, circle, seed, steps=4000):
    """Trained on it, W_1 along it is below twice its floor, half of the samples are nearer than 0.03, and nothing looks
    like manifold overfitting."""
    data = circle.sample(5000, seed=seed)
    sm.fit(model, data, steps=steps, learning_rate=2e-3, ema=0.998, seed=seed, progress=False)
    found, floor, off = _on_circle(model, circle, seed)
    assert found < 2 * floor
    assert off < 0.03
    check_is_not_flagged(model, data, circle.sample(1000, seed=500 + seed), dim=1)


def check_is_not_flagged(model, data, held_out, dim):
    """As manifold overfitting."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of points that a two-step model refuses
        found = sm.lens.manifold_overfitting(model, held_out, reference=data, dim=dim)
    assert found.verdict != "overfitting", found.summary


def _on_circle(model, circle, seed, n=2000):
    """W_1 of samples along the circle to data, its floor, and the median distance from it.

    Means of ten pairs of sets each, of five sets of samples, since that of one pair varies by a quarter of it.
    """
    generator = torch.Generator().manual_seed(seed)
    x = [model.sample(n, generator=generator).double().numpy() for _ in range(5)]
    true = [circle.angle(circle.sample(n, seed=1000 * (seed + 1) + k)) for k in range(20)]
    floor = np.mean([circular_wasserstein(a, b) for a, b in zip(true[:10], true[10:], strict=True)])
    found = np.mean([circular_wasserstein(circle.angle(a), b) for a, b in zip(x + x, true[:10], strict=True)])
    return float(found), float(floor), float(np.median(circle.distance(np.concatenate(x))))
