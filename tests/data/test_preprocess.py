"""Preprocessing: inverses, log-determinants against autograd, change of units, refusals."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from submanifold.data import Preprocess, load
from submanifold.errors import InvalidInput, UnfittedModel

COMPOSITIONS = [
    (),
    ("scale",),
    ("standardise",),
    ("dequantise",),
    ("logit",),
    ("dequantise", "scale"),
    ("dequantise", "logit", "standardise"),
    ("standardise", "logit", "scale"),
]
composed = pytest.mark.parametrize("names", COMPOSITIONS, ids="+".join)
shaped = pytest.mark.parametrize("shape", [(1,), (5,), (2, 3, 3)], ids=str)


def points(shape: tuple[int, ...], seed: int = 0, n: int = 400) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 17, (n, *shape), generator=generator).double()


def fitted(names: tuple[str, ...], x: Tensor) -> Preprocess:
    module = Preprocess(names, x.shape[1:]).to(x.dtype)
    module.fit(x)
    return module.eval()


@composed
@shaped
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse(names: tuple[str, ...], shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = points(shape).to(dtype)
    module = fitted(names, x)
    tolerance = 2e-4 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(module.inverse(module(x)), x, atol=tolerance, rtol=0)
    torch.testing.assert_close(module(module.inverse(module(x))), module(x), atol=tolerance, rtol=tolerance)


@composed
@shaped
def test_log_det_is_that_of_the_jacobian(names: tuple[str, ...], shape: tuple[int, ...]) -> None:
    x = points(shape)[:20]
    module = fitted(names, points(shape))
    D = math.prod(shape)
    J = torch.func.vmap(torch.func.jacfwd(module))(x).reshape(20, D, D)  # (n, *shape, *shape) -> (n, D, D)
    u, log_det = module.forward_and_log_det(x)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(J)[1], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(module.log_det(x), log_det)
    torch.testing.assert_close(u, module(x))
    J_inverse = torch.func.vmap(torch.func.jacfwd(module.inverse))(u).reshape(20, D, D)
    torch.testing.assert_close(J_inverse @ J, torch.eye(D, dtype=x.dtype).expand(20, D, D), atol=1e-9, rtol=0)


@pytest.mark.parametrize("names", [*COMPOSITIONS, ("whiten",), ("standardise", "whiten", "logit")], ids="+".join)
@shaped
def test_the_derivative_of_the_inverse_is_its_jacobian(names: tuple[str, ...], shape: tuple[int, ...]) -> None:
    module, D = fitted(names, points(shape)), math.prod(shape)
    u = module(points(shape, seed=1, n=3)).clone()
    found = module.inverse_derivative(u)  # (n, G, G, D / G)
    G = shape[0] if "whiten" in names else 1
    assert found.shape == (3, G, G, D // G)
    assert not found.requires_grad
    full = torch.diag_embed(found).movedim(-2, 2).reshape(3, D, D)
    for one, point in zip(full, u, strict=True):
        jacobian = torch.autograd.functional.jacobian(module.inverse, point).reshape(D, D)
        assert torch.allclose(one, jacobian, rtol=1e-10, atol=1e-12)


@composed
def test_one_point_is_the_batch_of_one(names: tuple[str, ...]) -> None:
    x = points((2, 3, 3))
    module = fitted(names, x)
    u, log_det = module.forward_and_log_det(x[3])
    torch.testing.assert_close(u, module(x)[3])
    torch.testing.assert_close(log_det, module.log_det(x)[3])
    assert log_det.shape == ()


@pytest.mark.parametrize("names", [n for n in COMPOSITIONS if set(n) & {"scale", "standardise", "logit"}], ids="+".join)
@pytest.mark.parametrize("c", [1e-3, 40.0])
def test_change_of_units(names: tuple[str, ...], c: float) -> None:
    """Of c x the coordinates are those of x, and the log-determinant is D log c less."""
    x = points((4,))
    torch.manual_seed(1)  # the same noise in both fits
    one = fitted(names, x)
    torch.manual_seed(1)
    other = fitted(names, c * x)
    torch.testing.assert_close(other(c * x), one(x), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(other.log_det(c * x), one.log_det(x) - 4 * math.log(c), atol=1e-8, rtol=0)


def test_scale_is_a_similarity() -> None:
    x = points((6,)) * torch.tensor([1.0, 9, 2, 0.1, 5, 3]) + 1e4
    u = fitted(("scale",), x)(x)
    ratio = torch.pdist(u) / torch.pdist(x)
    assert ratio.max() / ratio.min() == pytest.approx(1, abs=1e-9)
    torch.testing.assert_close(u.mean(0), torch.zeros(6, dtype=u.dtype), atol=1e-9, rtol=0)
    assert u.square().mean() == pytest.approx(1, abs=1e-9)


def test_standardise_gives_each_feature_unit_variance_whatever_its_units() -> None:
    x = points((3,)) * torch.tensor([1e-6, 1.0, 1e6])
    u = fitted(("standardise",), x)(x)
    torch.testing.assert_close(u.std(0, correction=0), torch.ones(3, dtype=u.dtype))


def test_standardise_does_not_amplify_rounding() -> None:
    """A feature that is constant but for rounding in float32 stays small, and one that is constant stays zero."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 3, generator=generator)
    x[:, 1] = 100 + 7.6e-6 * torch.randint(0, 2, (1000,), generator=generator)
    x[:, 2] = 0
    u = fitted(("standardise",), x)(x)
    assert u[:, 1].abs().max() < 1e-4
    assert (u[:, 2] == 0).all()
    assert u[:, 0].std(correction=0) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("step", [1.0, 1 / 255])
def test_dequantise_fills_the_cells_while_training(step: float) -> None:
    x = step * torch.randint(0, 256, (4000, 3), generator=torch.Generator().manual_seed(0)).double()
    module = fitted(("dequantise",), x)
    torch.testing.assert_close(module(x), x, rtol=0, atol=0)
    torch.manual_seed(0)
    noise = (module.train()(x) - x) / step
    assert -0.5 <= noise.min() < -0.49
    assert 0.49 < noise.max() < 0.5 + 1e-9
    # Uniform on an interval of length 1: 12000 values, mean 0 +- 0.0026, variance 1/12 +- 0.0007; five of these.
    assert abs(noise.mean()) < 5 * 0.0027
    assert noise.var() == pytest.approx(1 / 12, abs=5 * 0.0007)
    again = (module(x) - x) / step
    assert not torch.equal(noise, again)


def test_dequantise_is_the_identity_for_continuous_data() -> None:
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fitted(("dequantise",), x).train()(x), x, rtol=0, atol=0)


def test_logit_gives_density_zero_outside_its_box_and_no_nan() -> None:
    x = points((3,))
    module = fitted(("logit",), x)
    outside = torch.tensor([[8.0, 8.0, 40.0], [-9.0, 3.0, 3.0]], dtype=x.dtype, requires_grad=True)
    u, log_det = module.forward_and_log_det(outside)
    assert torch.isfinite(u).all()
    assert torch.isneginf(log_det).all()
    u.sum().backward()
    assert outside.grad is not None
    assert torch.isfinite(outside.grad).all()
    margin = 16 * 0.05 / 0.9
    assert torch.isfinite(module.log_det(torch.full((1, 3), 16 + 0.99 * margin, dtype=x.dtype))).all()
    assert module.inverse(torch.full((1, 3), 50.0, dtype=x.dtype)).max() <= 16 + margin + 1e-9


@composed
def test_weights_carry_the_statistics(names: tuple[str, ...]) -> None:
    x = points((5,))
    first, second = fitted(names, x), Preprocess(names, (5,)).double().eval()
    assert second.fitted == (not names)
    second.load_state_dict(first.state_dict())
    assert second.fitted
    torch.testing.assert_close(second(x), first(x), rtol=0, atol=0)
    torch.testing.assert_close(second.log_det(x), first.log_det(x), rtol=0, atol=0)


@composed
def test_fit_leaves_data_and_mode_alone(names: tuple[str, ...]) -> None:
    x = points((5,))
    kept = x.clone()
    for training in (True, False):
        module = Preprocess(names, (5,)).train(training)
        module.fit(x)
        assert module.training is training
        assert all(part.training is training for part in module.modules())
    assert torch.equal(x, kept)


def test_digits_come_out_in_the_units_of_the_model() -> None:
    digits = torch.from_numpy(load("digits").x)
    module = fitted(("dequantise", "scale"), digits)
    u = module(digits)
    assert u.square().mean() == pytest.approx(1, abs=0.01)  # the noise adds 1/12 to a variance of 36 - 17
    torch.testing.assert_close(module.inverse(u), digits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("names", [("lattice",), ("dequantise", "scale")], ids="+".join)
def test_vmap_asks_as_a_batch_does(names: tuple[str, ...]) -> None:
    x = points((5,))
    module = fitted(names, x)
    torch.testing.assert_close(torch.func.vmap(module)(x), module(x))


def test_points_off_the_levels_that_were_seen_are_not_accepted() -> None:
    module = fitted(("lattice",), points((1, 2, 2)))
    x = points((1, 2, 2), seed=1, n=4)
    x[1, 0, 0, 0], x[2, 0, 1, 1] = 17.0, 3.5
    assert module.accepts(x).tolist() == [True, False, False, True]
    assert fitted(("scale",), x).accepts(x).all()


@pytest.mark.parametrize("name", ["dequantise", "lattice"])
def test_what_looks_at_levels_comes_first(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name} looks at the levels"):
        Preprocess(("scale", name), (3,))


def test_refusals() -> None:
    with pytest.raises(InvalidInput, match="'standardise'"):
        Preprocess(["standardize"], (3,))
    with pytest.raises(InvalidInput, match="list of names"):
        Preprocess("scale", (3,))
    for names, method in itertools.product([("scale",), ("logit",)], ["forward", "inverse", "log_det"]):
        with pytest.raises(UnfittedModel):
            getattr(Preprocess(names, (3,)), method)(torch.zeros(2, 3))
    for name in ("scale", "standardise", "logit"):
        with pytest.raises(InvalidInput, match="one point"):
            Preprocess([name], (3,)).fit(torch.ones(10, 3))
