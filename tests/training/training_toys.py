"""Small models for the tests of training: each has one property that a trainer can get wrong."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from submanifold.models import Model, Objective, Stage


class NoisyCoder(Model):
    """Draws noise in its loss, drops out units and keeps running statistics."""

    def __init__(self, data_shape, latent_dim=2):
        super().__init__(data_shape, ("standardise",))
        self.latent_dim = latent_dim
        self.encoder = nn.Sequential(
            nn.Linear(self.ambient_dim, 16), nn.BatchNorm1d(16), nn.SiLU(), nn.Dropout(0.2), nn.Linear(16, latent_dim)
        )
        self.decoder = nn.Sequential(nn.Linear(latent_dim, 16), nn.SiLU(), nn.Linear(16, self.ambient_dim))

    def loss(self, x: Tensor):
        y = self.preprocess(x)
        z = self.encoder(y)
        error = (y - self.decoder(z + 0.1 * torch.randn_like(z))).square().mean()
        return {"loss": error, "latent_size": z.square().mean()}

    def objectives(self):
        return [Objective("reconstruction", list(self.parameters()), self.loss)]


class TwoStages(Model):
    """A coder, then a law of its latents whose buffer is sized by the data, with a threshold set at the end."""

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.coder = NoisyCoder(data_shape)
        self.law = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 2))
        self.register_buffer("anchors", torch.zeros(0, 2))
        self.register_buffer("threshold", torch.tensor(math.nan))

    def latents(self, x: Tensor) -> Tensor:
        return self.coder.encoder(self.coder.preprocess(x))

    def prepare_law(self, z: Tensor) -> None:
        self.anchors = z[torch.randperm(len(z))[: len(z) // 3]].clone()

    def law_loss(self, z: Tensor) -> Tensor:
        noise = torch.randn_like(z)
        distance = torch.cdist(z + noise, self.anchors).amin(1)
        return (self.law(z + noise) + noise).square().mean() + 0.01 * distance.mean()

    def finish(self, x: Tensor) -> None:
        with torch.no_grad():
            self.threshold.fill_(self.law(self.latents(x)).norm(dim=1).quantile(0.9))

    def stages(self):
        law = Objective("law", list(self.law.parameters()), self.law_loss)
        return [
            Stage("code", self.coder.objectives(), prepare=self.coder.prepare),
            Stage("law", [law], transform=self.latents, prepare=self.prepare_law, finish=self.finish),
        ]


class ClosedForm(Model):
    """A Gaussian whose mean is read off the data at once, and a random sketch of it."""

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.register_buffer("mean", torch.zeros(self.ambient_dim))
        self.register_buffer("sketch", torch.zeros(0))

    def prepare(self, x: Tensor) -> None:
        self.mean.copy_(x.mean(0))
        self.sketch = x @ torch.randn(self.ambient_dim)

    def stages(self):
        return [Stage("fit", prepare=self.prepare)]


class Gaussian(Model):
    """N(0, L L^T) with L lower triangular, by gradients: its likelihood has no maximum on data on a line."""

    measure = "ambient"
    log_prob_kind = "exact"

    def __init__(self, data_shape):
        super().__init__(data_shape)
        D = self.ambient_dim
        self.log_diagonal = nn.Parameter(torch.zeros(D))
        self.lower = nn.Parameter(torch.zeros(D, D))

    def factor(self) -> Tensor:
        return self.lower.tril(-1) + self.log_diagonal.exp().diag()

    def log_prob(self, x: Tensor) -> Tensor:
        white = torch.linalg.solve_triangular(self.factor(), x.T, upper=False).T
        constant = 0.5 * self.ambient_dim * math.log(2 * math.pi)
        return -0.5 * white.square().sum(1) - self.log_diagonal.sum() - constant

    def local_scales(self, x: Tensor) -> Tensor:
        return torch.linalg.svdvals(self.factor().detach().double()).expand(len(x), -1)

    def objectives(self):
        return [Objective("likelihood", list(self.parameters()), lambda x: -self.log_prob(x).mean())]


class Adversaries(Model):
    """Two objectives of which the second moves on every third step only; counts the updates of each."""

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.critic = nn.Linear(self.ambient_dim, 1)
        self.maker = nn.Linear(1, self.ambient_dim)
        self.calls = [0, 0]

    def fake(self, x: Tensor) -> Tensor:
        return self.maker(torch.randn(len(x), 1))

    def critic_loss(self, x: Tensor) -> Tensor:
        self.calls[0] += self.training
        return (self.critic(self.fake(x)) - self.critic(x)).mean() + self.critic.weight.square().sum()

    def maker_loss(self, x: Tensor) -> Tensor:
        self.calls[1] += self.training
        return -self.critic(self.fake(x)).mean()

    def objectives(self):
        return [
            Objective("critic", list(self.critic.parameters()), self.critic_loss),
            Objective("maker", list(self.maker.parameters()), self.maker_loss, every=3),
        ]


class Breaks(Model):
    """Its loss is NaN from the given update on."""

    def __init__(self, data_shape, at=20):
        super().__init__(data_shape)
        self.at = at
        self.seen = 0
        self.weight = nn.Parameter(torch.ones(self.ambient_dim))

    def loss(self, x: Tensor) -> Tensor:
        self.seen += self.training
        loss = (self.weight * x).square().mean()
        return loss * math.nan if self.training and self.seen > self.at else loss

    def objectives(self):
        return [Objective("size", [self.weight], self.loss)]


TOYS = {
    "toy-coder": NoisyCoder,
    "toy-two-stages": TwoStages,
    "toy-closed-form": ClosedForm,
    "toy-gaussian": Gaussian,
    "toy-breaks": Breaks,
}


def toy_data(n: int = 600, D: int = 5) -> Tensor:
    """A curve in R^D with a little noise."""
    generator = torch.Generator().manual_seed(3)
    t = torch.rand(n, 1, generator=generator) * 6
    waves = torch.cat([torch.sin(t * (k + 1) / 2 + k) for k in range(D)], dim=1)
    return waves + 0.05 * torch.randn(n, D, generator=generator)
