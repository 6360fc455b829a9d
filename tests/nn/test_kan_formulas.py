"""Formulas say what networks compute, to the digits that they promise, and a state is one of its functions alone."""

import ast
import operator

import numpy as np
import pytest
import torch
from torch import nn

from submanifold.errors import InvalidInput
from submanifold.nn.kan import KAN, prune, snap
from submanifold.nn.kan.functions import best_fit

CALLS = {name: getattr(np, name) for name in ("sin", "cos", "exp", "log", "sqrt", "tanh", "arctan", "abs")}
SUMS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}


def computed(text, **values):
    """An expression as NumPy has it; a function that is called phi_l_o_i is among the values."""

    def of(node):
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return values[node.id]
            case ast.UnaryOp():
                return SUMS[type(node.op)](of(node.operand))
            case ast.BinOp():
                return SUMS[type(node.op)](of(node.left), of(node.right))
            case ast.Call(func=ast.Name()):
                return (CALLS | values)[node.func.id](*map(of, node.args))
        raise AssertionError(ast.dump(node))

    return of(ast.parse(text.replace("^", "**"), mode="eval").body)


def off(said, exact, digits):
    """The error over what `digits` digits allow."""
    return np.abs(said - exact).max() / (0.5 * 10.0 ** (1 - digits) * np.ptp(exact))


def network(widths, seed=0, **options):
    torch.manual_seed(seed)
    return KAN(widths, noise=1.0, **options).double()


def points(n=90, width=2, seed=0):
    return 2 * torch.rand(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


TRUTH = {
    "1/x^2": lambda x: 900 / (x + 30) ** 2 - 0.4,
    "exp": lambda x: 2 * np.exp(0.02 * x) - 1.995,
    "sqrt": lambda x: np.sqrt(x + 4.002),
    "1/x": lambda x: 1 / (x + 4.003) + 0.02,
    "log": lambda x: 1e-3 * np.log(x + 5) + 7,
    "sin": lambda x: np.sin(3 * x) + 100,
    "x": lambda x: 1e3 * x - 1,
}


@pytest.mark.parametrize("digits", [1, 2, 3, 5])
@pytest.mark.parametrize("name", TRUTH)
def test_constants_are_as_exact_as_what_they_stand_beside_varies(name, digits):
    x = np.linspace(-4, 4, 100)
    y = TRUTH[name](x)
    fit = best_fit(name, x, y)
    assert off(computed(fit.expression(digits=digits), x=x), y, digits) < 1.01


def test_constants_that_do_not_matter_are_left_out():
    x = np.linspace(-4, 4, 100)
    assert best_fit("1/x^2", x, TRUTH["1/x^2"](x)).expression() == "900/(x + 30)^2 - 0.4"
    assert best_fit("exp", x, TRUTH["exp"](x)).expression() == "2*exp(0.02*x) - 1.995"
    assert best_fit("sqrt", x, np.sqrt(x + 5) + 1e-5).expression() == "sqrt(x + 5)"
    assert best_fit("sqrt", x, np.sqrt(x + 5) + 1e-5).expression(digits=6) == "sqrt(x + 5) + 1e-05"
    assert best_fit("x", x, 1e3 * x - 0.3).expression() == "1e+03*x"


@pytest.mark.parametrize("digits", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("seed", range(5))
def test_formulas_are_right_to_the_digits_that_they_promise(seed, digits):
    """On the data that the network was made with, and nearly so between them."""
    for widths in ((2, 1), (2, 3, 2)):
        snapped, x = snap(network(widths, seed, base=None), points(), min_r2=0.0), points()
        between = points(500, seed=1)
        for o, text in enumerate(snapped.formula(digits=digits)):
            for z, allowed in ((x, 1.0), (between.clamp(x.amin(dim=0), x.amax(dim=0)), 3.0)):
                said = computed(text, x1=z[:, 0].numpy(), x2=z[:, 1].numpy())
                exact = snapped(z)[:, o].detach().numpy()
                assert off(said, exact, digits) <= allowed


def test_constants_that_nearly_cancel_are_written():
    """What is left of two constants of a million is more than all that varies."""
    kan, x = KAN([2, 1], base=None, grid=1, order=1).double(), points()
    with torch.no_grad():
        for i, constant in enumerate([1e6, 5e-4 - 1e6]):
            kan.layers[0].coefficients[0, i] = constant + 1e-4 * torch.tensor([-1.0, 1.0], dtype=torch.float64)
    snapped = snap(kan, x)
    (text,) = snapped.formula(digits=3)
    said = computed(text, x1=x[:, 0].numpy(), x2=x[:, 1].numpy())
    assert off(said, kan(x)[:, 0].detach().numpy(), 3) <= 1


def test_formulas_are_right_near_poles():
    """Where inner nodes are extreme, though no input is."""
    kan, x = KAN([2, 1, 1], base=None, grid=1, order=1).double(), points(20_000)
    with torch.no_grad():
        for layer in kan.layers:
            layer.coefficients[:] = torch.tensor([-1.0, 1.0])
    snapped = snap(kan, x, choices={}, min_r2=0.0)
    snapped.layers[1].functions = ("1/x",)
    with torch.no_grad():
        snapped.layers[1].affine[0] = torch.tensor([1.0, 1e-3 - float(x.sum(dim=1).min()), 1.0, 0.0])
    snapped = type(snapped)(snapped.layers, x)
    (text,) = snapped.formula(digits=3)
    said = computed(text, x1=x[:, 0].numpy(), x2=x[:, 1].numpy())
    assert off(said, snapped(x)[:, 0].detach().numpy(), 3) <= 1


def test_names_that_are_sums_stand_in_brackets():
    kan, x = KAN([2, 1], base=None, grid=1, order=1).double(), points()
    with torch.no_grad():
        kan.layers[0].coefficients[0] = torch.tensor([[-2.0, 2.0], [-3.0, 3.0]])
    assert snap(kan, x).formula(["a+b", "log(c)"]) == ["2*(a+b) + 3*log(c)"]
    assert best_fit("x^2", x[:, 0].numpy(), x[:, 0].numpy() ** 2).expression("u - 3") == "(u - 3)^2"


def test_edges_that_stay_splines_are_called():
    kan, x = network((2, 2, 1), grid=12), points()
    snapped = snap(kan, x, min_r2=0.999)
    (text,) = snapped.formula(digits=5)
    assert "phi_1_" in text
    values = {"x1": x[:, 0].numpy(), "x2": x[:, 1].numpy()}
    for index, layer in enumerate(snapped.layers):
        for o, i in layer.rest.mask.nonzero().tolist() if layer.rest is not None else []:

            def phi(z, layer=layer, o=o, i=i):
                z = torch.from_numpy(z)[:, None].expand(-1, layer.in_features)
                return layer.rest.edges(z)[:, o, i].detach().numpy()

            values[f"phi_{index + 1}_{o + 1}_{i + 1}"] = phi
    assert off(computed(text, **values), snapped(x)[:, 0].detach().numpy(), 5) <= 1


@pytest.mark.parametrize("min_r2", [0.0, 0.999])
def test_a_state_comes_back_into_a_network_of_the_same_functions(min_r2):
    kan, x = network((2, 3, 1), grid=12), points()
    snapped, again = snap(kan, x, min_r2=min_r2), snap(kan, x, min_r2=min_r2)
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.normal_()
    again.load_state_dict(snapped.state_dict())
    assert torch.equal(again(x), snapped(x))
    assert again.formula() == snapped.formula()


def test_a_state_of_other_functions_is_refused_and_nothing_is_taken():
    kan, x = network((2, 1), base=None), points()
    square, cube = (snap(kan, x, choices={(0, 0, 0): name, (0, 0, 1): name}) for name in ("x^2", "x^3"))
    before = cube(x)
    with pytest.raises(InvalidInput, match="the state is one of other known functions"):
        cube.load_state_dict(square.state_dict())
    assert torch.equal(cube(x), before)
    with pytest.raises(InvalidInput, match="does not say which known functions it has"):
        square.load_state_dict(square.state_dict() | {"0._extra_state": torch.tensor([1, 2, 3], dtype=torch.uint8)})
    with pytest.raises(RuntimeError, match="Missing key"):
        square.load_state_dict({name: value for name, value in square.state_dict().items() if "extra" not in name})


def test_pruned_networks_are_snapped_in_their_place():
    """Within another module, in single precision, after training on."""
    kan, x = network((2, 4, 1)).float(), points().float()
    snapped = snap(prune(kan, x, edge_threshold=0.2), x, min_r2=0.0)
    whole = nn.Sequential(snapped, nn.Tanh())
    with torch.no_grad():
        for parameter in snapped.parameters():
            parameter.mul_(1.1)
    said = computed(snapped.formula(digits=4)[0], x1=x[:, 0].double().numpy(), x2=x[:, 1].double().numpy())
    assert off(np.tanh(said), whole(x)[:, 0].detach().double().numpy(), 4) < 3
