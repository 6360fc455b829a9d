"""What KANs say about themselves: scores of edges, sparsity, pruning, known functions, formulas, pictures."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from submanifold.errors import InvalidInput
from submanifold.nn.kan import (
    BASES,
    FUNCTIONS,
    KAN,
    attribution,
    draw,
    edge_scores,
    formula,
    kan_of_powers,
    powers_of_kan,
    prune,
    snap,
    sparsity,
    suggest,
)
from submanifold.nn.kan.functions import Fit, best_fit
from submanifold.plotting import png_bytes


def network(widths=(3, 4, 2), seed=0, **options):
    torch.manual_seed(seed)
    return KAN(widths, noise=1.0, **options).double()


def points(n=400, width=3, seed=0):
    return 2 * torch.rand(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


def broken():
    kan = network()
    with torch.no_grad():
        kan.layers[1].coefficients[1, 2, 0] = torch.nan
    return kan


def silence(kan, layer, keep):
    """Make all edges of a layer zero but those with `keep`."""
    with torch.no_grad():
        kan.layers[layer].coefficients.mul_(torch.as_tensor(keep)[..., None])
        kan.layers[layer].base_scale.mul_(torch.as_tensor(keep))


@pytest.mark.parametrize("basis", BASES)
def test_scores_are_deviations_of_what_edges_say(basis):
    kan, x = network(basis=basis), points()
    seen = kan.activations(x)
    deviations = [layer.edges(z).std(dim=0) for layer, z in zip(kan.layers, seen, strict=False)]
    for scores, E, z in zip(edge_scores(kan, x), deviations, seen, strict=False):
        torch.testing.assert_close(scores, E / (z.std(dim=0) + 0.1), rtol=0, atol=1e-5)
    found = attribution(kan, x)
    torch.testing.assert_close(found.edges[1], deviations[1] / seen[2].std(dim=0)[:, None], rtol=0, atol=1e-5)
    through = found.edges[1].sum(dim=0)
    expected = through[:, None] * deviations[0] / seen[1].std(dim=0)[:, None]
    torch.testing.assert_close(found.edges[0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("unit", "constant"), [(1e-9, 0.0), (1e-5, 0.0), (1e6, 0.0), (1.0, 1e3), (1.0, 1e6)])
def test_units_and_constants_of_outputs_do_not_matter(unit, constant):
    kan, x = network(), points()
    rescaled = copy.deepcopy(kan)
    with torch.no_grad():
        rescaled.layers[1].spline_scale *= unit
        rescaled.layers[1].base_scale *= unit
        rescaled.layers[1].coefficients += constant
    ours, theirs = attribution(rescaled, x), attribution(kan, x)
    for a, b in zip([*ours.edges, *ours.nodes], [*theirs.edges, *theirs.nodes], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=0)
    widths = [[layer.out_features for layer in prune(net, x, edge_threshold=0.3).layers] for net in (rescaled, kan)]
    assert widths[0] == widths[1]


def test_edges_that_cancel_each_other_are_not_all_there_is():
    kan, x = network((1, 2, 1)), points(width=1)
    with torch.no_grad():
        for values in kan.layers[0].parameters():
            values[1] = values[0]
        for values in (kan.layers[1].coefficients, kan.layers[1].base_scale):
            values[:, 1] = -values[:, 0]
    E = kan.layers[1].edges(kan.activations(x)[1]).std(dim=0)
    found = attribution(kan, x)
    torch.testing.assert_close(found.edges[1], E / (1e-4 * E.sum()), rtol=1e-4, atol=0)


def test_what_leads_nowhere_has_no_score():
    kan, x = network(), points()
    silence(kan, 1, [[1.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0]])
    found = attribution(kan, x)
    assert float(found.nodes[1][2]) == 0
    assert (found.edges[0][2] == 0).all()
    assert (edge_scores(kan, x)[0][2] > 0).all()  # though it says something
    assert float(found.nodes[1].sum()) >= 2  # deviations of a sum are at most sums of deviations


@pytest.mark.parametrize("silent", [0.0, 1e-12, 1e-159])
def test_sparsity_is_finite_where_edges_are_zero(silent):
    kan, x = network(), points()
    with torch.no_grad():
        kan.layers[0].coefficients[0] *= silent
        kan.layers[0].base_scale[0] *= silent
        kan.layers[1].coefficients *= silent
        kan.layers[1].base_scale *= silent
    value = sparsity(kan, x)
    value.backward()
    assert bool(value.isfinite())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in kan.parameters())


def test_sparsity_differentiates_and_is_what_it_says():
    kan, x = network((2, 2, 1)), points(40, 2)
    names, values = zip(*((f"kan.{name}", value) for name, value in kan.named_parameters()), strict=True)

    def f(*values):
        return torch.func.functional_call(_Sparsity(kan), dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(f, values, atol=1e-5)
    total = sum(float(scores.detach().sum()) for scores in edge_scores(kan, x))
    assert float(sparsity(kan, x, entropy=0.0).detach()) == pytest.approx(total)
    entropies = []
    for scores in (scores.detach() for scores in edge_scores(kan, x)):
        for s in (scores, scores.mT):
            p = s / (1 + s.sum(dim=1, keepdim=True))
            entropies.append(float(-(p * (p + 1e-4).log2()).sum(dim=1).mean()))
    assert float(sparsity(kan, x, l1=0.0, entropy=1.0).detach()) == pytest.approx(sum(entropies))
    assert float(sparsity(kan, x).detach()) == pytest.approx(total + 2 * sum(entropies))
    # one strong edge is told from many weak ones of the same sum
    spread, single = network((4, 1)), network((4, 1))
    with torch.no_grad():
        for net, scale in ((spread, [[1.0, 1.0, 1.0, 1.0]]), (single, [[4.0, 0.0, 0.0, 0.0]])):
            net.layers[0].coefficients.zero_()
            net.layers[0].base_scale.copy_(torch.tensor(scale))
    same = points(50, 1).expand(-1, 4)
    assert float(sparsity(single, same).detach()) < float(sparsity(spread, same).detach()) - 1


class _Sparsity(torch.nn.Module):
    def __init__(self, kan):
        super().__init__()
        self.kan = kan

    def forward(self, x):
        return sparsity(self.kan, x)


@pytest.mark.parametrize("options", [{}, {"base": None}, {"open_knots": True}, {"basis": "rbf"}, {"basis": "fourier"}])
def test_pruned_networks_are_smaller_and_what_remains_is_unchanged(options):
    kan, x = network((3, 5, 4, 2), **options), points()
    keep = [torch.ones(5, 3), torch.ones(4, 5), torch.ones(2, 4)]
    keep[0][1] = 0  # a node that hears nothing
    keep[2][:, 3] = 0  # a node that nobody hears
    keep[1][0, 2] = 0  # an edge
    with torch.no_grad():
        for layer, kept in zip(kan.layers, keep, strict=True):
            layer.prune_edges(kept.bool())
    before = [layer.edges(z) for layer, z in zip(kan.layers, kan.activations(x), strict=False)]
    smaller = prune(kan, x, edge_threshold=0.0, node_threshold=0.0, keep_means=False)
    assert [(layer.out_features, layer.in_features) for layer in smaller.layers] == [(4, 3), (3, 4), (2, 3)]
    stayed = [[0, 2, 3, 4], [0, 1, 2]]
    first = kan.layers[0].edges(x)[:, stayed[0]]
    torch.testing.assert_close(smaller.layers[0].edges(x), first, rtol=0, atol=1e-14)
    z = kan.activations(x)[1]
    second = before[1][:, stayed[1]][:, :, stayed[0]]
    torch.testing.assert_close(smaller.layers[1].edges(z[:, stayed[0]]), second, rtol=0, atol=1e-14)
    if options.get("basis") != "rbf":  # of the node that heard nothing, edges said constants; nothing else is missing
        torch.testing.assert_close(prune(kan, x, edge_threshold=0.0, node_threshold=0.0)(x), kan(x))
    smaller.load_state_dict(smaller.state_dict())
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in kan.parameters())


@pytest.mark.parametrize("seed", range(5))
def test_nodes_that_stay_hear_and_are_heard(seed):
    kan, x = network((3, 6, 6, 5, 2), seed=seed), points(seed=seed)
    before, counts = kan(x).detach(), []
    for threshold in (0.0, 0.1, 0.3, 0.5):
        smaller = prune(kan, x, edge_threshold=threshold)
        masks = [layer.mask for layer in smaller.layers]
        assert all(bool(mask.any(dim=1).all()) for mask in masks[:-1])
        assert all(bool(mask.any(dim=0).all()) for mask in masks[1:])
        assert masks[0].shape[1] == 3
        assert masks[-1].shape[0] == 2
        counts.append(sum(int(mask.sum()) for mask in masks))
        if threshold == 0:
            torch.testing.assert_close(smaller(x), before)
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 0.7 * counts[0]


def test_a_node_that_hears_only_whispers_goes():
    """Of two hidden nodes that matter as much, one sums 16 inputs alike, each a quarter of its deviation."""
    kan, x = KAN([16, 2, 1], base=None).double(), points(2000, 16)
    with torch.no_grad():
        kan.layers[0].coefficients.copy_(kan.layers[0].basis.identity())
        kan.layers[0].coefficients[0].mul_(0.25)
        kan.layers[0].coefficients[1, 1:] = 0
        kan.layers[1].coefficients.copy_(kan.layers[1].basis.identity())
    found = attribution(kan, x)
    assert float(found.edges[0][0].max()) < 0.25 < 0.5 < float(found.edges[1].min())
    smaller = prune(kan, x, edge_threshold=0.3)
    assert [layer.mask.shape for layer in smaller.layers] == [(1, 16), (1, 1)]
    assert smaller.layers[0].mask[0].tolist() == [True] + [False] * 15


def test_pruning_keeps_means_and_leaves_the_network_alone():
    kan, x = network((2, 3, 1)), points(width=2)
    with torch.no_grad():  # all but one path says constants
        for layer in kan.layers:
            layer.base_scale[:, 1:] = 0
            layer.coefficients[:, 1:] = layer.coefficients[:, 1:, :1]
    before = kan(x)
    smaller = prune(kan, x)
    assert [layer.mask.sum().item() for layer in smaller.layers] == [1, 1]
    torch.testing.assert_close(smaller(x), before)
    torch.testing.assert_close(kan(x), before, rtol=0, atol=0)
    assert float((prune(kan, x, keep_means=False)(x) - before).detach().abs().max()) > 0.1


@pytest.mark.parametrize("base", ["silu", None])
@pytest.mark.parametrize("seed", range(4))
def test_pruning_again_and_again_keeps_means(seed, base):
    """An edge that was gone comes back where its node is left with a constant, which is then not lost."""
    kan, x = network((3, 5, 4, 2), seed=seed, base=base), points(seed=seed)
    with torch.no_grad():  # an output that is a constant
        last = kan.layers[-1]
        last.coefficients[0, 3] = 0.7
        if base is not None:
            last.base_scale[0, 3] = 0
    last.prune_edges(torch.tensor([[False, False, False, True], [True] * 4]))
    smaller = kan
    for threshold in (0.0, 0.02, 0.05):
        smaller = prune(smaller, x, edge_threshold=threshold, node_threshold=threshold)
        torch.testing.assert_close(smaller(x)[:, 0], kan(x)[:, 0], rtol=0, atol=1e-9)
        apart = (smaller(x) - kan(x)).detach()[:, 1]
        assert float(apart.mean().abs()) < 0.02  # what hidden nodes lose but for its mean, layers after them bend
    assert float(kan(x)[0, 0].detach()) == pytest.approx(0.7)


def test_a_pruned_network_comes_back_into_one_of_the_first_widths():
    kan, x = network((3, 6, 5, 2)), points()
    smaller = prune(kan, x, edge_threshold=0.15, node_threshold=0.4)
    assert [layer.out_features for layer in smaller.layers] != [6, 5, 2]
    again = network((3, 6, 5, 2), seed=1)
    parameters = list(again.parameters())
    again.load_state_dict(smaller.state_dict())
    assert torch.equal(again(x), smaller(x))
    assert all(a is b for a, b in zip(again.parameters(), parameters, strict=True))  # an optimiser still knows them
    again.load_state_dict(kan.state_dict())  # and back
    assert torch.equal(again(x), kan(x))
    finer = network((3, 6, 5, 2), grid=9)
    again.load_state_dict(prune(finer, x, edge_threshold=0.15, node_threshold=0.4).state_dict())
    assert again.layers[0].basis.intervals == 9


@pytest.mark.parametrize("widths", [(3, 7, 2), (2, 6, 2), (3, 6, 1)])
def test_networks_of_other_widths_do_not_come_back(widths):
    with pytest.raises(InvalidInput, match=rf"widths \[{widths[0]}, {widths[1]}, {widths[2]}\] are not those of a pru"):
        network((3, 6, 2)).load_state_dict(network(widths).state_dict())


def test_with_sparsity_only_the_edges_that_are_needed_remain():
    """sin(pi x1), of a network with six edges more."""
    torch.manual_seed(0)
    kan, x = KAN([2, 3, 1]), points(200, 2).float()
    y = torch.sin(math.pi * x[:, :1])
    optimiser = torch.optim.Adam(kan.parameters(), 0.02)
    for _ in range(300):
        optimiser.zero_grad()
        ((kan(x) - y).square().mean() + 0.01 * sparsity(kan, x)).backward()
        optimiser.step()
    smaller = prune(kan, x)
    assert [layer.mask.tolist() for layer in smaller.layers] == [[[True, False]], [[True]]]
    assert float((smaller(x) - y).detach().square().mean()) < 1e-3


def test_reading_changes_nothing():
    plain, kan, x = network((2, 2), base=None), network((2, 2, 1)), points(50, 2)
    state, given = torch.get_rng_state(), x.clone()
    before = {name: value.clone() for name, value in kan.state_dict().items()}
    for read in (edge_scores, attribution, sparsity, prune, suggest, snap, formula, draw):
        read(kan, x)
    powers_of_kan(kan_of_powers(powers_of_kan(plain), x))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, given)
    assert all(torch.equal(value, before[name]) for name, value in kan.state_dict().items())


def test_an_output_that_is_constant_stays_so():
    kan, x = network((3, 4, 2)), points()
    with torch.no_grad():
        kan.layers[1].base_scale[0] = 0
        kan.layers[1].coefficients[0] = 0.7
    torch.testing.assert_close(prune(kan, x, edge_threshold=0.0, node_threshold=0.0)(x), kan(x))


TRUTH = {
    "x": lambda x: 3 * x - 1,
    "x^2": lambda x: (x - 0.3) ** 2,
    "x^3": lambda x: 2 * x**3,
    "1/x": lambda x: 1 / (x + 1.5),
    "sqrt": lambda x: np.sqrt(2 - x),
    "log": lambda x: np.log(x + 1.2),
    "exp": lambda x: 2 * np.exp(-3 * x) + 1,
    "abs": lambda x: np.abs(x - 0.2),
    "sin": lambda x: np.sin(np.pi * x),
    "cos": lambda x: np.cos(2 * x),
    "tanh": lambda x: np.tanh(3 * x - 1),
    "gaussian": lambda x: np.exp(-((2 * x - 0.5) ** 2)),
}


@pytest.mark.parametrize("name", TRUTH)
def test_known_functions_are_found_in_noise(name):
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, 200)
    y = TRUTH[name](x)
    fits = [fit for other in FUNCTIONS if (fit := best_fit(other, x, y + 1e-3 * y.std() * random.normal(size=200)))]
    best = min(fits, key=lambda fit: fit.rank)
    assert best.name == name
    assert best.r2 == pytest.approx(1, abs=1e-5)
    exact = best_fit(name, x, y)
    np.testing.assert_allclose(exact(torch.from_numpy(x)), y, rtol=0, atol=1e-6 * np.abs(y).max())


def of_known_functions():
    """exp(sin(pi x1) + x2^2) as a KAN of fine splines, fitted edge by edge."""
    kan = KAN([2, 1, 1], grid=40).double()
    silent = [(0, 0, 0, lambda x: torch.sin(math.pi * x)), (0, 0, 1, torch.square), (1, 0, 0, torch.exp)]
    kan.layers[1].basis.set_breakpoints(torch.linspace(-1, 2, 41)[None])
    for layer, o, i, f in silent:
        basis = kan.layers[layer].basis
        x = torch.linspace(*basis.breakpoints[0, [0, -1]].tolist(), 2000, dtype=torch.float64)
        values = basis(x[:, None].expand(-1, basis.in_features))[:, i]
        with torch.no_grad():
            kan.layers[layer].coefficients[o, i] = torch.linalg.lstsq(values, f(x)[:, None]).solution[:, 0]
            kan.layers[layer].base_scale.zero_()
    return kan


def test_edges_are_named_and_the_network_is_written_down():
    kan, x = of_known_functions(), points(width=2)
    said = suggest(kan, x)
    assert {edge: fits[0].name for edge, fits in said.items()} == {(0, 0, 0): "sin", (0, 0, 1): "x^2", (1, 0, 0): "exp"}
    assert min(fits[0].r2 for fits in said.values()) > 1 - 1e-6
    assert all(a.rank <= b.rank for fits in said.values() for a, b in pairwise(fits))
    some = ["x", "x^2", "exp", "sin", "tanh"]
    assert formula(kan, x, digits=2, functions=some) == ["exp(sin(3.1*x1) + x2^2)"]
    assert formula(kan, x, names=["u", "v"], digits=3, functions=some) == ["exp(sin(3.14*u) + v^2)"]
    snapped = snap(kan, x, functions=some)
    expected = torch.exp(torch.sin(math.pi * x[:, :1]) + x[:, 1:] ** 2)
    torch.testing.assert_close(snapped(x), expected, rtol=1e-3, atol=1e-3)
    # trained on, it is exact
    optimiser = torch.optim.LBFGS(snapped.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = (snapped(x) - expected).square().mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert float(closure().detach()) < 1e-10


def test_edges_that_are_no_known_function_stay_splines():
    kan, x = of_known_functions(), points(width=2)
    rough = network((1, 1), grid=20, base=None).layers[0]
    with torch.no_grad():
        kan.layers[0].coefficients[0, 0, :20] = rough.coefficients[0, 0, :20].clamp(-0.9, 0.9)
    snapped = snap(kan, x, min_r2=0.999, functions=["x", "x^2", "exp", "sin"])
    torch.testing.assert_close(snapped(x), kan(x), rtol=1e-3, atol=1e-3)
    assert "phi_1_1_1(x1)" in snapped.formula()[0]
    forced = snap(kan, x, choices={(0, 0, 0): "cos"}, functions=["x"])
    assert "cos(" in forced.formula()[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_varies_is_not_written_as_a_constant(dtype):
    """Two waves, neither of which explains half; and an edge that is constant."""
    kan, x = network((2, 1), grid=30, base=None), points(width=2)
    t = torch.linspace(-1, 1, 2000, dtype=torch.float64)
    values = kan.layers[0].basis(t[:, None].expand(-1, 2))[:, 0]
    with torch.no_grad():
        for i, said in enumerate([torch.sin(9 * t) + torch.cos(23 * t), 0.5 * torch.ones_like(t)]):
            kan.layers[0].coefficients[0, i] = torch.linalg.lstsq(values, said[:, None]).solution[:, 0]
    kan, x = kan.to(dtype), x.to(dtype)
    suggested = suggest(kan, x)
    assert "0" not in {fit.name for fit in suggested[0, 0, 0]}
    assert suggested[0, 0, 1][0].name == "0"
    assert formula(kan, x) == ["phi_1_1_1(x1) + 0.5"]
    (text,) = formula(kan, x, min_r2=0.0)
    assert "x1" in text
    assert "phi" not in text


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_not_taken_as_rounding(dtype):
    kan, x = network((1, 1), base=None), points(width=1)
    t = torch.linspace(-1, 1, 200, dtype=torch.float64)[:, None]
    with torch.no_grad():
        values = kan.layers[0].basis(t)[:, 0]
        kan.layers[0].coefficients[0, 0] = torch.linalg.lstsq(values, 1 + 0.1 * torch.sin(3 * t)).solution[:, 0]
    kan = kan.to(dtype)
    assert suggest(kan, x.to(dtype))[0, 0, 0][0].name in ("sin", "cos")


def test_known_functions_and_splines_side_by_side_under_autocast():
    kan, x = network((2, 3, 1)).float(), points(width=2).float()
    snapped = snap(kan, x, choices={(0, 0, 0): "sin"}, min_r2=1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = snapped(x)
    torch.testing.assert_close(rough.float(), snapped(x), rtol=0.05, atol=0.05)


def test_formulas_say_what_networks_compute():
    """Written to all digits and computed by NumPy."""
    kan, x = network((2, 3, 2), base=None), points(60, 2)
    snapped = snap(kan, x, min_r2=0.0)
    known = {name: getattr(np, name) for name in ("sin", "cos", "exp", "log", "sqrt", "tanh", "arctan", "abs")}
    for o, text in enumerate(snapped.formula(digits=17)):
        values = eval(text.replace("^", "**"), known | {"x1": x[:, 0].numpy(), "x2": x[:, 1].numpy()})
        np.testing.assert_allclose(values, snapped(x)[:, o].detach().numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("fit", "text"),
    [
        (Fit("x", 1, 0, 2, 1, 1), "2*x + 1"),
        (Fit("x", 1, 0, -1, 0, 1), "-x"),
        (Fit("x^2", 1, -0.5, 1, 0, 1), "(x - 0.5)^2"),
        (Fit("1/x", 1, 2, 3, -1, 1), "3/(x + 2) - 1"),
        (Fit("1/x", 1, 0, 1, 0, 1), "1/x"),
        (Fit("gaussian", 2, 1, 1, 0, 1), "exp(-(2*x + 1)^2)"),
        (Fit("0", 1, 0, 1, 0.25, 1), "0.25"),
    ],
)
def test_functions_are_written_plainly(fit, text):
    assert fit.expression("x") == text
    x = torch.tensor(0.3, dtype=torch.float64)
    assert float(fit(x)) == pytest.approx(eval(text.replace("^", "**"), {"x": 0.3, "exp": math.exp}))


def test_pictures_show_edges_that_there_are():
    kan, x = network((2, 5, 1)), points(width=2)
    full = draw(kan, x)
    kan.layers[0].prune_edges(torch.tensor([[True, True]] + [[True, False]] * 4))
    pruned = draw(kan, x, names=["u", "v"])
    assert [len(figure.axes[0].child_axes) for figure in (full, pruned)] == [15, 11]
    widths = {line.get_linewidth() for line in full.axes[0].lines}
    assert len(widths) > 5  # they differ by more than colour
    assert png_bytes(full)[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda kan, x: KAN(5), "widths=5 is not accepted: give a list of integers"),
        (lambda kan, x: KAN([5]), r"widths=\[5\] is not accepted: give at least an input and an output"),
        (lambda kan, x: edge_scores(kan, x[:1]), "x holds 1 point"),
        (lambda kan, x: edge_scores(kan, x[:, :2]), "shape"),
        (lambda kan, x: sparsity(kan, x, l1=-1.0), "l1=-1"),
        (lambda kan, x: prune(kan, x, edge_threshold=1e3), "edge_threshold=1000"),
        (lambda kan, x: prune(kan, x, node_threshold=1e3), "node_threshold=1000"),
        (lambda kan, x: prune(kan, x, edge_threshold=-1.0), "edge_threshold=-1"),
        (lambda kan, x: prune(network(basis="rbf"), x), "keep_means=False"),
        (lambda kan, x: prune(broken(), x), "kan says NaN or infinity on x"),
        (lambda kan, x: suggest(broken(), x), "kan says NaN or infinity on x, in layer 1"),
        (lambda kan, x: suggest(kan, x[:4]), "x holds 4 points"),
        (lambda kan, x: suggest(kan, x, functions=["sine"]), "functions='sine'"),
        (lambda kan, x: snap(kan, x, choices={(5, 0, 0): "sin"}), r"the edge \(5, 0, 0\)"),
        (lambda kan, x: suggest(kan, x, functions=[]), "functions is empty"),
        (lambda kan, x: formula(kan, x, names=["a", "b", "a"]), "names holds 2 names: give 3"),
        (lambda kan, x: snap(kan, x, min_r2=2.0), "min_r2=2"),
        (lambda kan, x: snap(kan, x)(x[:, :2]), r"x has shape \(400, 2\): give \(..., 3\)"),
        (lambda kan, x: snap(kan, x, min_r2=0.0)(points(width=5)), r"x has shape \(400, 5\): give \(..., 3\)"),
        (lambda kan, x: draw(kan, x, names=["x"]), "names holds 1"),
        (lambda kan, x: draw(network((3, 40, 2)), x), "prune it"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InvalidInput, match=words):
        call(network(), points())
