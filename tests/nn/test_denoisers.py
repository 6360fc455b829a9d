"""Networks of diffusion models: exact shapes, points that do not mix, levels and labels that matter, derivatives of all
kinds."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from submanifold.errors import InvalidInput
from submanifold.nn import DENOISERS, Denoiser, DenoiserMLP, ImageTransformer, UNet, denoiser
from submanifold.nn.conditional import Modulation

VECTORS = [(1,), (2,), (20,)]
IMAGES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 9, 7), (2, 1, 5), (1, 1, 1)]
CASES = [("mlp", shape) for shape in VECTORS] + [(name, shape) for name in DENOISERS for shape in IMAGES]
SMALL = [("mlp", (3,)), ("mlp", (2, 3, 2)), ("unet", (2, 5, 3)), ("transformer", (2, 5, 3))]

every_case = pytest.mark.parametrize(("name", "shape"), CASES)
every_small_case = pytest.mark.parametrize(("name", "shape"), SMALL)


def build(name: str, shape: tuple[int, ...], classes: int = 0) -> Denoiser:
    """A small network whose weights are no longer where they begin."""
    torch.manual_seed(0)
    network = denoiser(name, shape, hidden=(8, 8), classes=classes).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return network


def points(n: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, *shape, dtype=torch.float64, generator=generator)
    return x, torch.linspace(-2, 2, n, dtype=torch.float64)


def alone(network: Denoiser) -> Callable[[Tensor, Tensor], Tensor]:
    """The network as a function of one point and its level."""
    return lambda row, level: network(row[None], level[None])[0]


@every_case
def test_points_do_not_mix(name: str, shape: tuple[int, ...]) -> None:
    """With as many points as an image has channels, rows or columns, no dimension can be taken for another."""
    network = build(name, shape)
    for n in sorted({1, 3, shape[0], shape[-1]}):
        x, level = points(n, shape)
        one_by_one = torch.stack([alone(network)(row, c) for row, c in zip(x, level, strict=True)])
        assert one_by_one.shape == x.shape
        torch.testing.assert_close(network(x, level), one_by_one, rtol=1e-9, atol=1e-11)


@every_case
def test_before_training_the_output_is_zero(name: str, shape: tuple[int, ...]) -> None:
    x, level = points(2, shape)
    assert (denoiser(name, shape, hidden=(8, 8))(x.float(), level.float()) == 0).all()


@every_small_case
def test_level_and_label_change_the_output(name: str, shape: tuple[int, ...]) -> None:
    network = build(name, shape, classes=3)
    x, level = (part[:1].expand(4, *part.shape[1:]) for part in points(1, shape))
    for outputs in (network(x, level, torch.arange(4)), network(x, torch.arange(4) / 40)):
        assert torch.pdist(outputs.flatten(1)).min() > 1e-4
    torch.testing.assert_close(network(x, level), network(x, level, torch.full((4,), 3)))


@every_small_case
def test_every_output_depends_on_every_input(name: str, shape: tuple[int, ...]) -> None:
    x, level = points(1, shape)
    D = math.prod(shape)
    J = torch.func.jacrev(alone(build(name, shape)))(x[0], level[0]).reshape(D, D)
    assert J.abs().min() > 0


@every_small_case
def test_gradients_reach_every_parameter(name: str, shape: tuple[int, ...]) -> None:
    network = build(name, shape, classes=2)
    x, level = points(6, shape)
    network(x, level, torch.arange(6) % 3).square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0
    assert network.embedding.label is not None
    assert (network.embedding.label.weight.grad.abs().sum(dim=1) > 0).all()  # of "no label" too


@every_small_case
@pytest.mark.filterwarnings("error:There is a performance drop")
def test_derivatives_forwards_backwards_and_by_point_agree(name: str, shape: tuple[int, ...]) -> None:
    network = build(name, shape)
    x, level = points(3, shape)
    f = alone(network)
    torch.testing.assert_close(torch.func.vmap(f)(x, level), network(x, level))
    J = torch.func.vmap(torch.func.jacrev(f))(x, level).reshape(3, math.prod(shape), -1)
    forwards = torch.func.vmap(torch.func.jacfwd(f))(x, level).reshape(J.shape)
    torch.testing.assert_close(forwards, J, rtol=1e-8, atol=1e-10)
    v = torch.randn_like(x)
    _, Jv = torch.func.jvp(lambda x: network(x, level), (x,), (v,))
    torch.testing.assert_close(Jv.flatten(1), (J @ v.flatten(1)[:, :, None])[:, :, 0], rtol=1e-8, atol=1e-10)
    _, by_level = torch.func.jvp(lambda c: network(x, c), (level,), (torch.ones_like(level),))
    h = 1e-5
    difference = (network(x, level + h) - network(x, level - h)) / (2 * h)
    torch.testing.assert_close(by_level, difference, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", DENOISERS)
def test_how_an_image_lies_in_memory_does_not_matter(name: str) -> None:
    network = build(name, (3, 5, 5))
    x, level = points(3, (3, 5, 5))
    v = torch.randn_like(x)
    layouts = [
        (a, b)
        for a in (x, x.to(memory_format=torch.channels_last), x.mT.contiguous().mT)
        for b in (v, v.to(memory_format=torch.channels_last))
    ]
    outputs = [torch.func.jvp(lambda x: network(x, level), (a,), (b,)) for a, b in layouts]
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0])


@every_small_case
def test_a_derivative_along_a_direction_can_be_trained(name: str, shape: tuple[int, ...]) -> None:
    network = build(name, shape)
    x, level = points(2, shape)
    v, w, h = torch.randn_like(x), torch.randn_like(x), 1e-5

    def energy(x: Tensor) -> Tensor:
        return torch.func.jvp(lambda x: network(x, level), (x,), (v,))[1].square().sum()

    slope = (torch.func.grad(energy)(x) * w).sum()
    difference = (energy(x + h * w) - energy(x - h * w)) / (2 * h)
    torch.testing.assert_close(slope, difference, rtol=1e-5, atol=1e-8)
    energy(x).backward()
    assert sum(p.grad.abs().sum() for p in network.parameters() if p.grad is not None) > 0


@every_small_case
def test_weights_make_the_network(name: str, shape: tuple[int, ...]) -> None:
    network = build(name, shape, classes=2)
    other = denoiser(name, shape, hidden=(8, 8), classes=2).double()
    other.load_state_dict(network.state_dict())
    x, level = points(3, shape)
    label = torch.tensor([0, 1, 2])
    assert torch.equal(other(x, level, label), network(x, level, label))
    assert torch.equal(network(x, level, label), network(x, level, label))


@every_small_case
def test_it_compiles_to_one_graph(name: str, shape: tuple[int, ...]) -> None:
    network = build(name, shape, classes=2)
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    x, level = points(3, shape)
    label = torch.tensor([0, 1, 2])
    torch.testing.assert_close(compiled(x, level, label), network(x, level, label))


@pytest.mark.parametrize("height", range(1, 20))
@pytest.mark.parametrize("name", ["unet", "transformer"])
def test_any_height_comes_back(name: str, height: int) -> None:
    x, level = points(2, (1, height, 9))
    assert denoiser(name, (1, height, 9), hidden=(4, 4, 4)).double()(x, level).shape == x.shape


def test_modulation_is_affine_in_the_features() -> None:
    modulate = Modulation(3, 4)
    e, h = torch.randn(5, 3), torch.randn(5, 4, 2, 6)
    told = e @ modulate.weight.T + modulate.bias
    torch.testing.assert_close(
        modulate(h, e), torch.einsum("nc,nchw->nchw", 1 + told[:, :4], h) + told[:, 4:, None, None]
    )


def test_a_transformer_begins_with_each_patch_on_its_own() -> None:
    """Its blocks begin as the identity, so that what reaches a patch shows where patches are."""
    network = ImageTransformer((2, 7, 6), (8,), patch=3).double()
    nn.init.normal_(network.last.weight)
    x, level = points(1, (2, 7, 6))
    J = torch.func.jacrev(alone(network))(x[0], level[0])  # (2, 7, 6, 2, 7, 6)
    reached = J.abs().amax(dim=(0, 3)) > 0  # (7, 6, 7, 6)
    row, column = torch.arange(7) // 3, torch.arange(6) // 3
    same_row, same_column = row[:, None] == row, column[:, None] == column
    assert torch.equal(reached, same_row[:, None, :, None] & same_column[None, :, None, :])


@pytest.mark.parametrize(("size", "patch"), [((8, 8), 1), ((28, 28), 4), ((32, 32), 4), ((64, 64), 8), ((9, 7), 1)])
def test_patches_are_as_small_as_64_of_them_allow(size: tuple[int, int], patch: int) -> None:
    network = ImageTransformer((1, *size), (8,))
    assert network.patch == patch
    assert len(network.positions) == math.ceil(size[0] / patch) * math.ceil(size[1] / patch) <= 64


def test_patches_have_places_of_their_own() -> None:
    positions = ImageTransformer((1, 8, 8), (64,)).positions.reshape(8, 8, 64)
    assert torch.pdist(positions.flatten(0, 1)).min() > 0.5
    rows = positions - positions[:1]  # what is told of the row does not depend on the column
    torch.testing.assert_close(rows, rows[:, :1].expand_as(rows))


def test_auto_chooses_by_the_shape() -> None:
    kinds = {(2,): DenoiserMLP, (4, 5): DenoiserMLP, (1, 8, 8): UNet, (3, 32, 32): UNet}
    for shape, kind in kinds.items():
        assert type(denoiser("auto", shape)) is kind


def test_sizes_are_what_they_are_said_to_be() -> None:
    def size(network: nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    assert 5e5 < size(denoiser("unet", (1, 8, 8))) < 6e5
    assert 8e5 < size(denoiser("unet", (1, 28, 28))) < 9e5
    assert 1.05e6 < size(denoiser("unet", (1, 28, 28), hidden=(36, 72, 72))) < 1.15e6
    assert 2e6 < size(denoiser("unet", (3, 32, 32))) < 2.2e6


def test_the_best_denoiser_of_a_gaussian_is_learnt() -> None:
    r"""Of x = x_0 + \sigma \epsilon with Gaussian x_0 it is x / (1 + \sigma^2); learnt from pairs of x and that."""
    torch.manual_seed(0)
    network = DenoiserMLP((2,), (64, 64))
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    steps = 600
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)

    def error(z: Tensor, log_sigma: Tensor) -> Tensor:
        """At x = z / s, of standard deviation 1 / s."""
        s = (1 + (2 * log_sigma).exp()).rsqrt()
        return network(z, log_sigma / 4) - s[:, None] * z

    for _ in range(steps):
        loss = error(torch.randn(256, 2), 6 * torch.rand(256) - 3).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()
    with torch.no_grad():
        for log_sigma in (-2.5, -1.0, 0.0, 1.0, 2.5):
            rms = error(torch.randn(4000, 2), torch.full((4000,), log_sigma)).square().mean().sqrt()
            assert rms < 0.01  # of a mean that is of size 1 at the lowest noise


def test_bad_requests_are_refused_in_one_sentence() -> None:
    with pytest.raises(InvalidInput, match=r"network='unett' is unknown: did you mean 'unet'\?"):
        denoiser("unett", (1, 8, 8))
    for name in ("unet", "transformer"):
        with pytest.raises(
            InvalidInput,
            match=f"network='{name}' is not accepted for data of shape .64,.: it works on images, give \"mlp\"",
        ):
            denoiser(name, (64,))
    for name in DENOISERS:
        for hidden in ("64", (8, 0), (0.5,), ()):
            with pytest.raises(InvalidInput, match="hidden"):
                denoiser(name, (1, 8, 8), hidden=hidden)
        with pytest.raises(InvalidInput, match="classes="):
            denoiser(name, (1, 8, 8), classes=-1)
    with pytest.raises(InvalidInput, match="one width for all blocks, a multiple of 4"):
        denoiser("transformer", (1, 8, 8), hidden=(8, 16))
    network = denoiser("unet", (1, 8, 8), hidden=(8,))
    with pytest.raises(InvalidInput, match="label is given to a network without classes"):
        network(torch.zeros(2, 1, 8, 8), torch.zeros(2), torch.tensor([0, 0]))
    for x, level in (((2, 1, 8, 8), (2, 1)), ((2, 1, 8, 9), (2,)), ((8, 8), (8,))):
        with pytest.raises(InvalidInput, match=r"give shapes \(n, 1, 8, 8\) and \(n,\)"):
            network(torch.zeros(x), torch.zeros(level))
