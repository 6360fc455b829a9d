r"""Continuous normalizing flows: u = y(1) is where y(0) = x is carried by \dot y = v(y, t); u \sim N(0, I_D).

Runge-Kutta steps \Phi_h of fourth order solve it; D is the number of coordinates, J = \partial v / \partial y.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from submanifold.checks import check_int, check_ints, check_real
from submanifold.errors import InvalidInput
from submanifold.geometry import random_signs
from submanifold.models.base import LogProbKind, Objective
from submanifold.models.latents import normal
from submanifold.models.likelihood import ExactLikelihood
from submanifold.models.registry import register
from submanifold.nn.given import BegunAtZero, NetworkLike, given_network, is_given, named, network_for
from submanifold.nn.kan.network import inner_kan

__all__ = ["FIELDS", "ContinuousFlow", "NetworkField", "VelocityField"]

_PROBES = 16
"""Directions by which `log_prob` estimates a trace."""
_CORRECTIONS = 2
"""Each leaves of the error of an inverse step a part of order (h |J|)^5."""

State = tuple[Tensor, ...]


class VelocityField(nn.Module):
    r"""v(y, t), a network whose layers are scaled and shifted by the time,

    .. math:: h_{l+1} = \tanh\big((W_l h_l + b_l) \odot \sigma(a_l t + c_l) + d_l t + e_l\big),

    the last one without \tanh: the gated layers of FFJORD (Grathwohl et al. 2019, arXiv 1810.01367). It knows its
    derivatives along given directions, at the price of one more row for each. Starts as v = 0.
    """

    def __init__(self, D: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers = [nn.Linear(a, b) for a, b in pairwise([D, *hidden, D])]
        self.weights = nn.ParameterList(layer.weight for layer in layers)
        self.biases = nn.ParameterList(layer.bias for layer in layers)
        self.times = nn.ModuleList(nn.Linear(1, 2 * layer.out_features) for layer in layers)
        for parameter in [self.weights[-1], self.biases[-1], *self.times[-1].parameters()]:
            nn.init.zeros_(parameter)

    def forward(self, y: Tensor, t: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """v (n, D) at points (n, D) and time (1,), and J e (k, n, D) for each of `directions`, (k, n, D)."""
        last = len(self.weights) - 1
        for i, (weight, bias, time) in enumerate(zip(self.weights, self.biases, self.times, strict=True)):
            gate, shift = time(t).chunk(2)
            gate = gate.sigmoid()
            weight = weight * gate[:, None]  # here it has fewer rows to scale than afterwards
            y = nn.functional.linear(y, weight, bias * gate + shift)
            directions = directions @ weight.T
            if i < last:
                y = y.tanh()
                directions = directions * (1 - y.square())
        return y, directions


class NetworkField(nn.Module):
    """v(y, t) of any network that torch differentiates twice, called as `VelocityField` is.

    Args:
        network: called with points (n, *data_shape) and times (n,); says (n, *data_shape).
        data_shape: of its points.
    """

    def __init__(self, network: nn.Module, data_shape: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.data_shape = tuple(data_shape)

    def forward(self, y: Tensor, t: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """v (n, D) at points (n, D) and time (1,), and J e (k, n, D) for each of `directions`, (k, n, D)."""

        def v(y: Tensor) -> Tensor:
            said: Tensor = self.network(y.reshape(-1, *self.data_shape), t.expand(len(y)))
            return said.flatten(1)

        if not len(directions):
            return v(y), directions
        k = len(directions)
        rows = y.repeat(k, 1)  # (k n, D): rows do not mix, so that one pass does for all directions
        said, pull = torch.func.vjp(v, rows)[:2]
        # J e is the derivative of J^T u along e, with respect to u: quicker than forwards, where splines are slow
        push = torch.func.vjp(lambda u: pull(u)[0], torch.zeros_like(said))[1]
        (along,) = push(directions.expand(k, *y.shape).flatten(0, 1))
        return said[: len(y)], along.reshape(k, *y.shape)


class _KANOfTime(nn.Module):
    """A KAN of the coordinates and of the time, which is stretched over its grid; says nothing at first."""

    def __init__(self, D: int, hidden: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.kan = inner_kan([D + 1, *hidden, D], **options)
        self.kan.layers[-1].say_nothing()

    def forward(self, y: Tensor, t: Tensor) -> Tensor:
        v: Tensor = self.kan(torch.cat([y, 6 * t[:, None] - 3], dim=1))
        return v


FIELDS: dict[str, Callable[..., nn.Module]] = {
    "kan": lambda D, hidden, **options: NetworkField(_KANOfTime(D, hidden, **options), (D,)),
    "mlp": VelocityField,
}
"""What says v, by name, for D coordinates and widths of hidden layers, with options by keyword."""


@register("continuous-flow")
class ContinuousFlow(ExactLikelihood):
    r"""Maximises the log-likelihood of a neural differential equation (FFJORD),

    .. math:: \log p(x) = \log N(y(1); 0, I) + \int_0^1 \operatorname{tr} J(y(t), t) \, dt

    (Chen et al. 2018, arXiv 1806.07366; Grathwohl et al. 2019, arXiv 1810.01367), differentiated through the steps of
    the solver. In up to `exact_dims` coordinates the integral is replaced by the exact log-determinant of the map that
    the solver computes: the same steps carry the identity along, \dot E = J E, which gives \partial \Phi_h / \partial
    y, since a Runge-Kutta step of the derivative is the derivative of the step. So the density is that of the samples
    for few steps too, as long as each is invertible (h |J| below about 1), and training cannot profit from the error of
    an integral. Beyond, the trace is estimated along random directions e of signs, tr J = E e^T J e (Hutchinson 1990):
    in training one for each point, in `log_prob` 16 that never change, and `log_prob_kind` is "estimate".

    Args:
        data_shape: (D,) or (channels, height, width), flattened.
        hidden: widths of the hidden layers of v.
        network: v: "mlp", a `VelocityField`; "kan", a KAN of coordinates and time; or a module, called with points
            (n, *data_shape) and times (n,), see `submanifold.nn.given`. What a module says is multiplied by numbers
            that begin at zero. It has to be smooth, and differentiable twice.
        steps: Runge-Kutta steps of the solver, four evaluations of v each.
        exact_dims: coordinates up to which the log-likelihood is exact, at the price of D directions.
        kinetic_penalty: weight of \int |v|^2 dt / D in training, which straightens the paths (Finlay et al. 2020, arXiv
            2002.02798).
        preprocess: names of the invertible maps applied first; "dequantise" leaves continuous data as they are.
    """

    family = "continuous normalizing flow"
    awareness = "unaware"
    why = "an invertible map gives a density on all of R^D, whose likelihood grows without bound on a manifold"

    log_prob_kind: LogProbKind = "estimate"
    networks = ("field",)

    probes: Tensor

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (64, 64),
        network: NetworkLike = "mlp",
        steps: int = 8,
        exact_dims: int = 8,
        kinetic_penalty: float = 0.0,
        preprocess: Sequence[str] = ("dequantise", "scale"),
    ) -> None:
        super().__init__(data_shape, preprocess)
        hidden = check_ints(hidden, name="hidden")
        if not hidden:
            raise InvalidInput("hidden=[] is not accepted: give the width of at least one layer")
        self.steps = check_int(steps, name="steps")
        self.exact_dims = check_int(exact_dims, name="exact_dims", low=0)
        self.kinetic_penalty = check_real(kinetic_penalty, name="kinetic_penalty")
        given = network_for(network, "field", self.networks)
        self.is_ours = not is_given(given)
        if self.is_ours:
            name, options = named(given, FIELDS)
            self.field = FIELDS[name](self.ambient_dim, hidden, **options)
        else:
            told = given_network(given, self.data_shape, self.data_shape, more=[()], role="field")
            self.field = NetworkField(BegunAtZero(told, self.data_shape), self.data_shape)
        exact = self.ambient_dim <= self.exact_dims
        if exact:
            self.log_prob_kind = "exact"
        fixed = random_signs(_PROBES, torch.zeros(1, self.ambient_dim), torch.Generator().manual_seed(0))
        self.register_buffer("probes", fixed[:0] if exact else fixed, persistent=False)

    def objectives(self) -> list[Objective]:
        # a network this small and smooth, which starts as no flow at all, takes long steps
        rate = 5.0 if self.is_ours else 1.0
        return [Objective("likelihood", list(self.parameters()), self.loss, learning_rate=rate)]

    def loss(self, x: Tensor) -> Tensor:
        """Negative log-likelihood in nats, with the penalty, ()."""
        exact = self.log_prob_kind == "exact"
        one = self.probes if exact else random_signs(1, x.flatten(1))
        log_prob, kinetic = self._score(x, one)
        return self.kinetic_penalty * kinetic.mean() / self.ambient_dim - log_prob.mean()

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` samples, (n, *data_shape): the inverse of each step, last to first."""
        like = torch.empty(0, device=self.device, dtype=self.dtype)
        y = normal((check_int(n, name="n"), self.ambient_dim), like, generator)
        for step in reversed(range(self.steps)):
            y = self._undo(y, step)
        return self.preprocess.inverse(y.reshape(n, *self.data_shape))

    def _log_prob(self, x: Tensor) -> Tensor:
        return self._score(x, self.probes.expand(-1, len(x), -1))[0]

    def _normalise(self, x: Tensor) -> Tensor:
        """u = T^{-1}(x), (n, D)."""
        y: Tensor = self.preprocess(x).flatten(1)
        for step in range(self.steps):
            y = self._step(y, step)
        return y

    def _score(self, x: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:
        r"""Log-density, and the kinetic energy \int |v|^2 dt of the path, (n,) each; `probes` are (k, n, D).

        Without probes the log-density is exact.
        """
        y, log_prob = self.preprocess.forward_and_log_det(x)
        y = y.flatten(1).contiguous()  # products of matrices round by strides
        kinetic = torch.zeros_like(log_prob)
        for step in range(self.steps):
            y, gained, spent = self._estimated_step(y, step, probes) if len(probes) else self._exact_step(y, step)
            log_prob, kinetic = log_prob + gained, kinetic + spent
        log_prob = log_prob - 0.5 * (y.square() + math.log(2 * math.pi)).sum(dim=1)
        return log_prob, kinetic

    def _exact_step(self, y: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        r"""\Phi_h(y), \log |\det \partial \Phi_h / \partial y|, and the kinetic energy."""
        identity = torch.eye(self.ambient_dim, device=y.device, dtype=y.dtype)

        def slope(t: Tensor, state: State) -> State:
            v, Je = self.field(state[0], t, state[1])
            return v, Je, v.square().sum(dim=1)

        start = (y, identity[:, None].expand(-1, len(y), -1), torch.zeros_like(y[:, 0]))  # E is (D, n, D)
        y, E, kinetic = _runge_kutta(slope, self._time(step), 1 / self.steps, start)
        return y, torch.linalg.slogdet(E.transpose(0, 1)).logabsdet, kinetic

    def _estimated_step(self, y: Tensor, step: int, probes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""\Phi_h(y), an estimate of \int tr J dt over the step, and the kinetic energy."""

        def slope(t: Tensor, state: State) -> State:
            v, Je = self.field(state[0], t, probes)
            return v, (probes * Je).sum(dim=2).mean(dim=0), v.square().sum(dim=1)

        nothing = torch.zeros_like(y[:, 0])
        y, trace, kinetic = _runge_kutta(slope, self._time(step), 1 / self.steps, (y, nothing, nothing))
        return y, trace, kinetic

    def _step(self, y: Tensor, step: int, direction: int = 1) -> Tensor:
        r"""\Phi_h(y) from the step's beginning to its end, or, backwards, \Phi_{-h}(y) from its end."""
        start = step if direction == 1 else step + 1
        none = y.new_empty(0, 1, y.shape[1])
        return _runge_kutta(
            lambda t, state: (self.field(state[0], t, none)[0],), self._time(start), direction / self.steps, (y,)
        )[0]

    def _undo(self, y: Tensor, step: int) -> Tensor:
        r"""\Phi_h^{-1}(y): where \Phi_{-h} leads, corrected by where \Phi_h leads from there."""
        target = self._step(y, step, -1)
        x = target
        for _ in range(_CORRECTIONS):
            x = x + target - self._step(self._step(x, step), step, -1)
        return x

    def _time(self, step: int) -> Tensor:
        """When a step begins, (1,)."""
        return torch.full((1,), step / self.steps, device=self.device, dtype=self.dtype)


def _runge_kutta(slope: Callable[[Tensor, State], State], t: Tensor, h: float, state: State) -> State:
    """One step of length h from time t, of fourth order (Kutta 1901)."""

    def moved(by: float, slopes: State) -> State:
        return tuple(a + by * b for a, b in zip(state, slopes, strict=True))

    k1 = slope(t, state)
    k2 = slope(t + h / 2, moved(h / 2, k1))
    k3 = slope(t + h / 2, moved(h / 2, k2))
    k4 = slope(t + h, moved(h, k3))
    return moved(h / 6, tuple(a + 2 * b + 2 * c + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True)))
