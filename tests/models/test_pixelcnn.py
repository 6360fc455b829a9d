"""PixelCNN: what depends on which pixels, masses that sum to one, samples pixel by pixel, data it can take."""

import itertools
import math

import pytest
import torch
from model_cases import fit_briefly, make
from scipy import stats
from torch.utils.flop_counter import FlopCounterMode

import submanifold as sm
from submanifold.errors import InvalidInput
from submanifold.models import PixelCNN
from submanifold.nn import PixelNetwork


def lattice_images(shape, n=64, levels=5, low=2.0, step=0.5, seed=0):
    """Images in which a pixel is the one before it, in all channels, or a new value."""
    generator = torch.Generator().manual_seed(seed)
    C, H, W = shape
    values = torch.randint(levels, (n, H * W), generator=generator)
    for i in range(1, H * W):
        stays = torch.rand(n, generator=generator) < 0.8
        values[:, i] = torch.where(stays, values[:, i - 1], values[:, i])
    return low + step * values.reshape(n, 1, H, W).expand(n, C, H, W).float()


def prepared(shape, x, **kwargs):
    """A model that has seen x and was trained for no step."""
    model = make("pixelcnn", shape, **kwargs)
    model.prepare(x)
    return model.double().eval()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 5), (1, 5, 1), (2, 4, 5), (1, 8, 8), (1, 7, 3)])
@pytest.mark.parametrize(("blocks", "kan"), [(4, False), (5, False), (4, True)])
def test_features_depend_on_exactly_the_pixels_before(shape, blocks, kan):
    """Every pixel before and none after: no blind spot, and no leak."""
    network = PixelNetwork(shape, 3, (8,) * blocks, kan=kan).double()
    C, H, W = shape
    y = torch.randn(4, *shape, dtype=torch.float64, requires_grad=True)
    for i, j in itertools.product(range(H), range(W)):
        (gradient,) = torch.autograd.grad(network(y)[:, :, i, j].sin().sum(), y)
        reached = (gradient != 0).any(dim=0).reshape(C, H * W)
        before = torch.arange(H * W) < i * W + j
        assert torch.equal(reached, before.expand(C, -1))


def test_one_block_sees_all_pixels_within_its_reach():
    """Rows i - 3 to i and columns j - 3 to j + 2: of these all that come before, and no others."""
    H, W, i, j = 7, 9, 5, 4
    network = PixelNetwork((1, H, W), 3, (8,)).double()
    y = torch.randn(4, 1, H, W, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(y)[:, :, i, j].sin().sum(), y)
    seen = torch.zeros(H, W, dtype=torch.bool)
    seen[i - 3 : i, j - 2 : j + 3] = True  # by the stream from above, three rows of which are in reach
    seen[i - 2 : i + 1, j - 3 : j] = True  # by the stream from the left
    assert torch.equal((gradient != 0).any(dim=0)[0], seen)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 6), (1, 1, 7), (2, 7, 1)])
@pytest.mark.parametrize(("blocks", "kan"), [(1, False), (5, False), (5, True)])
def test_features_pixel_by_pixel_are_those_at_once(shape, blocks, kan):
    network = PixelNetwork(shape, 4, (8,) * blocks, kan=kan).double()
    seen = []

    def draw(features):
        seen.append(features)
        return torch.randn(3, shape[0], dtype=torch.float64)

    y = network.generate(3, draw)
    one_by_one = torch.stack(seen, dim=-1).reshape(3, 4, *shape[1:])
    torch.testing.assert_close(one_by_one, network(y), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 6)])
def test_drawing_images_costs_as_much_as_mapping_them(shape):
    """Multiplications and additions, of which a network without memory would need as many times more as pixels."""
    network = PixelNetwork(shape, 4, (8,) * 5)
    with FlopCounterMode(display=False) as drawing:
        y = network.generate(3, lambda features: features[:, : shape[0]])
    with FlopCounterMode(display=False) as mapping:
        network(y)
    assert drawing.get_total_flops() == mapping.get_total_flops()


@pytest.mark.parametrize(("shape", "levels"), [((1, 2, 2), 3), ((2, 1, 2), 3), ((3, 1, 1), 4), ((1, 1, 3), 5)])
@pytest.mark.parametrize("seed", range(3))
def test_the_masses_of_all_images_sum_to_one(shape, levels, seed):
    x = lattice_images(shape, levels=levels)
    model = prepared(shape, x, seed=seed, hidden=(8,))
    with torch.no_grad():
        for parameter in model.parameters():  # laws that differ from pixel to pixel
            parameter.add_(0.5 * torch.randn_like(parameter))
    values = torch.unique(x).double()
    assert len(values) == levels
    every = torch.cartesian_prod(*[values] * math.prod(shape)).reshape(-1, *shape)
    log_mass = model.log_prob(every).detach() + math.prod(shape) * math.log(0.5)
    assert float(log_mass.exp().sum()) == pytest.approx(1, abs=1e-10)
    assert float(log_mass.max()) <= 0
    bits = -log_mass / (math.prod(shape) * math.log(2))
    torch.testing.assert_close(model.bits_per_dim(every), bits)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 1, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_images_are_drawn_as_often_as_their_masses_say(shape, seed):
    model = fit_briefly(make("pixelcnn", shape, seed=seed), lattice_images(shape, levels=3), steps=20)
    every = torch.cartesian_prod(*[torch.tensor([2.0, 2.5, 3.0])] * 3).reshape(-1, *shape)
    n = 20_000
    drawn = model.sample(n, generator=torch.Generator().manual_seed(seed))
    counts = (drawn[:, None] == every).all(dim=(2, 3, 4)).sum(dim=0)
    assert int(counts.sum()) == n
    masses = (model.log_prob(every).detach().double() + 3 * math.log(0.5)).exp()
    common = n * masses > 5
    observed, expected = (torch.cat([t[common], t[~common].sum()[None]]) for t in (counts, n * masses))
    expected = expected * n / expected.sum()
    assert stats.chisquare(observed.numpy(), expected.numpy()).pvalue > 1e-3


def test_there_is_a_slope_for_every_pair_of_channels():
    model = prepared((3, 2, 2), lattice_images((3, 2, 2)))
    features = torch.randn(6, model.components * sum(model.parts), dtype=torch.float64)
    slopes = model._mixtures(features)[3]
    assert slopes.shape == (6, model.components, 3, 3)
    assert not slopes.triu().any()
    assert (slopes.tril(-1) != 0).sum() == 6 * model.components * 3


@pytest.mark.parametrize("seed", [0, 1])
def test_a_known_law_is_learned(seed):
    """Equal channels, and a pixel that is the one before with a probability of 0.84: the entropy, to 0.1 bits a
    pixel."""
    shape = (2, 3, 3)
    model = make("pixelcnn", shape, seed=seed, hidden=(16,))
    sm.fit(model, lattice_images(shape, 4000), steps=250, batch_size=64, learning_rate=1e-2, progress=False, seed=seed)
    change = torch.tensor([0.84, *[0.04] * 4])
    entropy = (math.log2(5) - 8 * float((change * change.log2()).sum())) / 9
    bits = 2 * float(model.bits_per_dim(lattice_images(shape, 2000, seed=9)).mean().detach())  # a pixel has 2 values
    assert entropy - 0.05 < bits < entropy + 0.1


def test_the_log_density_is_that_of_the_cells():
    """In units half as large a density in 16 dimensions is 2^16 times as low; masses and bits stay."""
    x = lattice_images((1, 4, 4))
    one, two = (prepared((1, 4, 4), scale * x) for scale in (1, 2))
    torch.testing.assert_close(one.log_prob(x), two.log_prob(2 * x) + 16 * math.log(2))
    torch.testing.assert_close(one.bits_per_dim(x), two.bits_per_dim(2 * x))


def test_identical_images_are_learned_without_an_infinity():
    x = lattice_images((1, 4, 4), n=1).expand(20, -1, -1, -1)
    model = fit_briefly(make("pixelcnn", (1, 4, 4)), x, steps=150, lr=5e-3)
    bits = model.bits_per_dim(x).detach()
    assert bits.isfinite().all()
    assert 0 <= float(bits.max()) < 0.05


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: PixelCNN((4,)), "channels, height, width"),
        (lambda: PixelCNN((1, 4, 4), hidden=(8, 16)), "one width for all blocks"),
        (lambda: PixelCNN((1, 4, 4), hidden=()), "one width for all blocks"),
        (lambda: PixelCNN((1, 4, 4), components=0), "components=0"),
        (lambda: make("pixelcnn", (1, 4, 4)).prepare(torch.randn(30, 1, 4, 4)), "not on a lattice"),
        (lambda: prepared((1, 4, 4), lattice_images((1, 4, 4))).log_prob(torch.full((1, 1, 4, 4), 2.2)), "off the"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
