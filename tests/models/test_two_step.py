"""Two-step densities against closed forms on manifolds whose geometry is known."""

import math
import warnings

import numpy as np
import pytest
import torch
from model_cases import fit_briefly, low_rank_data, make
from scipy import stats

from submanifold.errors import IncomparableMeasures, InvalidInput, OffManifold, UnfittedModel
from submanifold.models import Autoencoder, EncoderDecoder, Flow, GaussianMixture, KernelDensity, Model, TwoStep
from submanifold.models.base import require_same_measure


class Chart(Model):
    """An autoencoder that is known in closed form, and so needs no training."""

    latent_dim = 1

    def __init__(self, encode, decode, ambient_dim=2):
        super().__init__((ambient_dim,))
        self._encode, self._decode = encode, decode
        self.register_buffer("floats", torch.zeros(()))  # what `.double()` turns into float64

    def stages(self):
        return []

    def encode(self, x):
        return self._encode(self.receive(x))

    def decode(self, z):
        return self._decode(self.receive_latents(z))


RADIUS = 3.0


def stereographic():
    r"""The circle without its west pole: z -> R (1 - z^2, 2 z) / (1 + z^2), which moves at speed 2 R / (1 + z^2)."""
    return Chart(
        lambda x: (x[:, 1] / (x[:, 0] + x.norm(dim=1)))[:, None],
        lambda z: RADIUS * torch.cat([1 - z**2, 2 * z], dim=1) / (1 + z**2),
    )


def angular():
    return Chart(
        lambda x: torch.atan2(x[:, 1], x[:, 0])[:, None],
        lambda z: RADIUS * torch.cat([z.cos(), z.sin()], dim=1),
    )


def on_circle(theta):
    theta = torch.as_tensor(theta)
    return RADIUS * torch.stack([theta.cos(), theta.sin()], dim=1)


def linear_autoencoder(D, d, seed=0):
    """x = g(z) = m + A z with A not orthogonal, and its exact inverse on the subspace."""
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(D, d, generator=generator, dtype=torch.float64)
    m = torch.randn(D, generator=generator, dtype=torch.float64)
    model = Autoencoder((D,), d, hidden=(), preprocess=()).double()
    inverse = torch.linalg.pinv(A)
    with torch.no_grad():
        model.decoder[0].weight.copy_(A)
        model.decoder[0].bias.copy_(m)
        model.encoder[0].weight.copy_(inverse)
        model.encoder[0].bias.copy_(-inverse @ m)
    return model, A, m


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("D", "d"), [(2, 1), (5, 2), (20, 4)])
def test_gaussian_on_a_subspace(D, d, seed):
    """Linear decoder, Gaussian law: the Gaussian fitted in an orthonormal frame of the subspace, whatever A is."""
    autoencoder, A, m = linear_autoencoder(D, d, seed)
    frame = torch.linalg.qr(A).Q
    spread = torch.diag(torch.linspace(0.5, 2.0, d, dtype=torch.float64))
    coordinates = torch.randn(4000, d, dtype=torch.float64) @ spread
    x = m + coordinates @ frame.T
    model = TwoStep(
        autoencoder, GaussianMixture((d,), components=1), residual_quantile=1.0, train_autoencoder=False
    ).double()
    fit_briefly(model, x)
    c = coordinates.numpy()
    fitted = stats.multivariate_normal(c.mean(0), np.cov(c.T, bias=True)).logpdf(c)
    assert np.allclose(model.score_details(x).log_prob, fitted, atol=1e-5)
    single = stats.multivariate_normal(np.zeros(d), (spread**2).numpy()).logpdf(c)
    assert abs(fitted.mean() - single.mean()) < 5 * (d + d * (d + 1) / 2) / (2 * len(x))  # Wilks: half a chi-square
    assert model.measure == "manifold"
    assert model.log_prob_kind == "exact"


def test_single_precision_is_enough():
    autoencoder, A, m = linear_autoencoder(5, 2)
    x = m + torch.randn(500, 2, dtype=torch.float64) @ A.T
    fine = fit_briefly(TwoStep(autoencoder, GaussianMixture((2,), components=1), train_autoencoder=False).double(), x)
    threshold = torch.tensor(1e-3)
    fine.threshold.fill_(threshold)
    coarse = TwoStep(autoencoder, fine.law, train_autoencoder=False).float()
    coarse.threshold.fill_(threshold)
    assert torch.allclose(coarse.log_prob(x), fine.score_details(x).log_prob.float(), atol=1e-4)
    assert coarse.log_prob(x).dtype == torch.float32


@pytest.mark.parametrize("kappa", [1.0, 4.0])
@pytest.mark.parametrize("law", [KernelDensity((1,)), GaussianMixture((1,)), Flow((1,)), Flow((1,), kind="maf")])
def test_density_integrates_to_one_along_the_circle(law, kappa):
    """The volume term is right where the speed of the chart varies: by quadrature over arc length."""
    theta = torch.tensor(stats.vonmises(kappa).rvs(1000, random_state=0))
    model = TwoStep(stereographic(), law, residual_quantile=1.0, train_autoencoder=False).double()
    fit_briefly(model, on_circle(theta[theta.abs() < 2.8]), steps=60)
    model.threshold.fill_(1e-6)
    grid = torch.linspace(-math.pi, math.pi, 40_001, dtype=torch.float64)[1:-1]
    density = model.score_details(on_circle(grid)).log_prob.exp()
    mass = float(density.sum()) * RADIUS * float(grid[1] - grid[0])
    assert mass == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("kappa", [2.0, 5.0])
def test_density_is_that_of_the_von_mises_law(kappa):
    """With a law that fits, log p is log vM - log R; the chart does not show."""
    theta = torch.tensor(stats.vonmises(kappa).rvs(5000, random_state=1))
    x = on_circle(theta)
    truth = torch.tensor(stats.vonmises(kappa).logpdf(theta.numpy())) - math.log(RADIUS)
    charts = [angular()] if kappa == 2.0 else [angular(), stereographic()]  # tan(theta / 2) has tails as kappa falls
    for chart in charts:
        model = TwoStep(chart, "kernel-density", residual_quantile=1.0, train_autoencoder=False).double()
        fit_briefly(model, x)
        model.threshold.fill_(1e-6)
        assert abs(float((model.score_details(x).log_prob - truth).mean())) < 0.05


@pytest.mark.parametrize("c", [0.01, 255.0])
def test_units_of_the_data(c):
    """Volume on a d-dimensional manifold is in units^d: rescaling the data shifts log p by -d log c, not -D log c."""
    x, d = low_rank_data((6,), 300, rank=2).double(), 2
    values = []
    for factor in (1.0, c):
        model = fit_briefly(make("two-step", (6,), latent_dim=d).double(), factor * x, steps=40)
        values.append(model.score_details(factor * x))
    shift = values[1].log_prob - values[0].log_prob
    assert torch.equal(values[0].refused, values[1].refused)
    assert torch.allclose(shift[~values[0].refused], torch.tensor(-d * math.log(c)).double(), atol=1e-4)
    assert torch.allclose(values[1].residual, c * values[0].residual, rtol=1e-4)


def test_projections_are_refused():
    """Off the manifold the formula scores the projection, as high as it likes; such points get no score at all."""
    model = TwoStep(angular(), "gaussian-mixture", residual_quantile=0.99, train_autoencoder=False).double()
    generator = torch.Generator().manual_seed(0)
    theta = 0.5 * torch.randn(2000, generator=generator, dtype=torch.float64)
    radii = 1 + 0.01 * torch.randn(2000, 1, generator=generator, dtype=torch.float64)
    fit_briefly(model, on_circle(theta) * radii)
    beyond = 1.5 * on_circle(theta[:100])
    on, off = model.score_details(on_circle(theta[:100])), model.score_details(beyond)
    assert not on.refused.any()
    assert off.refused.all()
    assert off.log_prob.isnan().all()
    projected = model.law.log_prob(model.encode(beyond)) - off.log_volume
    assert torch.allclose(projected, on.log_prob)  # what the bare formula would have said
    assert torch.allclose(off.residual, torch.tensor(0.5 * RADIUS).double())
    with pytest.warns(UserWarning, match="100 of the 200 points"):
        values = model.log_prob(torch.cat([on_circle(theta[:100]), beyond]))
    assert torch.equal(values.isnan(), torch.arange(200) >= 100)
    with pytest.raises(OffManifold, match="100 of the 200 points"):
        model.log_prob(torch.cat([on_circle(theta[:100]), beyond]), off_manifold="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.log_prob(on_circle(theta[:100]))


def test_a_model_whose_manifold_is_perpendicular_to_the_data_scores_nothing():
    """Data on {0} x R, decoder onto R x {0}: every point is projected on the origin, where the law grows at will."""
    flat = Chart(lambda x: x[:, :1], lambda z: torch.cat([z, 0 * z], dim=1))
    t = torch.randn(1000, dtype=torch.float64)
    x = torch.stack([1e-3 * torch.randn(1000, dtype=torch.float64), t], dim=1)
    model = TwoStep(flat, "gaussian-mixture", train_autoencoder=False).double()
    with pytest.warns(UserWarning, match="no better than their mean"):
        fit_briefly(model, x)
    assert float(model.law.log_prob(model.encode(x)).mean()) > 4  # the likelihood that one would have reported
    assert model.score_details(x).refused.all()


def test_points_where_the_decoder_folds_are_refused():
    folded = Chart(lambda x: x[:, :1], lambda z: torch.cat([z, 0 * z], dim=1) * 0 + z.pow(2) * torch.tensor([0.0, 1.0]))
    model = TwoStep(folded, "kernel-density", train_autoencoder=False).double()
    model.law.prepare(torch.randn(10, 1, dtype=torch.float64))
    model.threshold.fill_(1.0)
    details = model.score_details(torch.zeros(1, 2))
    assert float(details.sigma_min) == 0
    assert details.refused.all()
    assert details.condition.isinf().all()


def test_the_threshold_is_a_quantile_of_held_out_residuals():
    model = TwoStep(angular(), "kernel-density", residual_quantile=0.9, train_autoencoder=False).double()
    x = on_circle(torch.randn(1000, dtype=torch.float64)) * (1 + 0.01 * torch.randn(1000, 1, dtype=torch.float64))
    fit_briefly(model, x)
    expected = np.quantile(np.abs(np.linalg.norm(x.numpy(), axis=1) - RADIUS), 0.9)
    assert float(model.threshold) == pytest.approx(expected, rel=1e-9)
    assert int(model.score_details(x).refused.sum()) == 100


def test_geometry_of_the_chart_is_reported():
    model = TwoStep(stereographic(), "kernel-density", train_autoencoder=False).double()
    theta = torch.linspace(-2, 2, 50, dtype=torch.float64)
    fit_briefly(model, on_circle(theta))
    details = model.score_details(on_circle(theta))
    z = torch.tan(theta / 2)
    assert torch.allclose(details.sigma_min, 2 * RADIUS / (1 + z**2))
    assert torch.allclose(details.log_volume, details.sigma_min.log())
    assert torch.allclose(details.condition, torch.ones(50).double())
    law, latents = model.ambient_factor(on_circle(theta))
    assert law is model.law
    assert torch.allclose(latents[:, 0], z)


def test_a_pretrained_autoencoder_is_left_alone():
    autoencoder = fit_briefly(make("vae", (5,)), low_rank_data((5,), 200))
    before = {name: value.clone() for name, value in autoencoder.state_dict().items()}
    model = TwoStep(autoencoder, "flow", train_autoencoder=False)
    assert [stage.name for stage in model.stages()] == ["law: fit", "residual threshold"]
    fit_briefly(model, low_rank_data((5,), 200))
    after = autoencoder.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert len(TwoStep(autoencoder, "flow").stages()) == 3


def test_the_law_sees_encoded_data():
    autoencoder = fit_briefly(make("autoencoder", (5,)), low_rank_data((5,), 100))
    model = fit_briefly(
        TwoStep(autoencoder, KernelDensity((2,), preprocess=()), train_autoencoder=False), low_rank_data((5,), 100)
    )
    assert torch.equal(model.law.points, autoencoder.encode(low_rank_data((5,), 100)))


def test_samples_are_decoded_draws_of_the_law():
    model = fit_briefly(make("two-step", (5,), law="gaussian-mixture"), low_rank_data((5,), 200))
    z = model.law.sample(50, generator=torch.Generator().manual_seed(3))
    assert torch.equal(model.sample(50, generator=torch.Generator().manual_seed(3)), model.decode(z))
    assert isinstance(model, EncoderDecoder)


def test_likelihoods_of_different_measures_are_not_compared():
    two_step, flow = make("two-step", (5,)), make("flow", (5,))
    with pytest.raises(IncomparableMeasures, match="different measures"):
        require_same_measure(two_step, flow)
    assert require_same_measure(two_step, make("two-step", (5,))) == "manifold"


def test_parts_that_do_not_fit_are_refused():
    autoencoder = make("autoencoder", (5,))
    with pytest.raises(InvalidInput, match=r"data_shape=\(3,\)"):
        TwoStep(autoencoder, Flow((3,)))
    with pytest.raises(InvalidInput, match="did you mean 'gaussian-mixture'"):
        TwoStep(autoencoder, "gaussian-mixtures")
    with pytest.raises(InvalidInput, match="law=Autoencoder"):
        TwoStep(autoencoder, Autoencoder((2,), 1))
    with pytest.raises(InvalidInput, match="density on a manifold"):
        TwoStep(autoencoder, make("two-step", (2,), latent_dim=1))
    with pytest.raises(InvalidInput, match="autoencoder=Flow"):
        TwoStep(Flow((5,)), "flow")
    with pytest.raises(InvalidInput, match="residual_quantile"):
        TwoStep(autoencoder, "flow", residual_quantile=1.5)


def test_without_a_threshold_there_is_no_density():
    model = TwoStep(angular(), "kernel-density", train_autoencoder=False)
    model.law.prepare(torch.randn(10, 1))
    with pytest.raises(UnfittedModel, match="fit"):
        model.log_prob(on_circle(torch.zeros(2)))


def test_double_copies_leave_the_model_alone():
    model = fit_briefly(make("two-step", (5,)), low_rank_data((5,), 100))
    model.train()
    model.residual(low_rank_data((5,), 10))
    assert model.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())
