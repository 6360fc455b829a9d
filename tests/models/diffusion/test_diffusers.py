"""Samplers against the schedulers of diffusers, on the same denoiser and noise levels; its networks in our models."""

import numpy as np
import pytest
import torch

from submanifold.data import Dataset
from submanifold.errors import InvalidInput
from submanifold.models import Diffusion
from submanifold.models.diffusion.samplers import ancestral, ddim, dpm_solver, euler, heun
from submanifold.training import fit

pytestmark = pytest.mark.peer
diffusers = pytest.importorskip("diffusers")

VARIANCE, STEPS = 2.0, 20
BETAS = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "num_train_timesteps": 1000}


def shrunk(x, sigma):
    """D of N(0, VARIANCE I)."""
    return x * VARIANCE / (VARIANCE + sigma**2)


def start(n=6, D=4):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def kept(scheduler):
    r"""\bar\alpha of the training steps."""
    return scheduler.alphas_cumprod.double()


def run(scheduler, x, **kwargs):
    """The scheduler's samples from x, in its own coordinates, told the noise of the denoiser at each step."""
    for t in scheduler.timesteps:
        bar = kept(scheduler)[int(t)]
        sigma = ((1 - bar) / bar).sqrt()
        eps = (x / bar.sqrt() - shrunk(x / bar.sqrt(), sigma)) / sigma
        x = scheduler.step(eps, t, x, **kwargs).prev_sample
    return x


def levels(scheduler):
    r"""\sigma = \sqrt{(1 - \bar\alpha) / \bar\alpha} of its steps, and 0 at the end."""
    bar = kept(scheduler)[scheduler.timesteps.long()]
    return torch.cat([((1 - bar) / bar).sqrt(), torch.zeros(1, dtype=torch.float64)])


def ends(scheduler, x):
    """x of its coordinates in ours, at its first level."""
    return x / kept(scheduler)[int(scheduler.timesteps[0])].sqrt()


@pytest.mark.parametrize("steps", [10, 50])
def test_ddim(steps):
    scheduler = diffusers.DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    x = start()
    ours = ddim(shrunk, ends(scheduler, x), levels(scheduler))
    torch.testing.assert_close(run(scheduler, x), ours, rtol=1e-4, atol=1e-4)


def test_ddpm():
    """All thousand steps, with its own noise: drawn alike, since both draw after each step but the last."""
    scheduler = diffusers.DDPMScheduler(**BETAS, clip_sample=False, variance_type="fixed_small")
    scheduler.set_timesteps(1000)
    x = start()
    theirs = run(scheduler, x, generator=torch.Generator().manual_seed(1))
    ours = ancestral(shrunk, ends(scheduler, x), levels(scheduler), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)


def test_dpm_solver():
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **BETAS, algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero", lower_order_final=False,
        timestep_spacing="trailing",
    )  # fmt: skip
    scheduler.set_timesteps(STEPS)
    x = start()
    theirs = run(scheduler, x)
    ours = dpm_solver(shrunk, ends(scheduler, x), levels(scheduler))
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "sampler"), [("EulerDiscreteScheduler", euler), ("HeunDiscreteScheduler", heun)], ids=["euler", "heun"]
)
def test_along_the_flow(name, sampler):
    scheduler = getattr(diffusers, name)(**BETAS, timestep_spacing="linspace")
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.double()
    own = torch.as_tensor(np.unique(sigmas.numpy())[::-1].copy())  # Heun's come twice
    x = start() * own[0]
    theirs = x
    for t, sigma in zip(scheduler.timesteps, sigmas, strict=False):  # one more level than steps
        eps = (theirs - shrunk(theirs, sigma)) / sigma
        theirs = scheduler.step(eps, t, theirs).prev_sample
    torch.testing.assert_close(theirs, sampler(shrunk, x, own), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("classes", [0, 3])
def test_a_network_of_diffusers_is_the_network_of_a_model(classes):
    """It trains, scores and samples as one of ours does, labels included."""
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        num_class_embeds=classes + 1 if classes else None,
    )
    model = Diffusion((1, 8, 8), network=network, classes=classes)
    labels = np.arange(40) % 3
    data = Dataset(np.random.default_rng(0).standard_normal((40, 1, 8, 8)).astype(np.float32), labels=labels)
    before = [p.detach().clone() for p in network.parameters()]
    fit(model, data, steps=3, batch_size=8, progress=False)
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    x = torch.as_tensor(data.x[:4])
    assert model.score(x, 0.5).shape == x.shape
    drawn = model.sample(4, labels=2 if classes else None, generator=torch.Generator().manual_seed(0), steps=3)
    assert drawn.shape == x.shape
    assert drawn.isfinite().all()


def test_a_network_without_room_for_no_label_is_refused():
    network = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
        num_class_embeds=3,
    )
    with pytest.raises(InvalidInput, match="num_class_embeds=4"):
        Diffusion((3, 8, 8), network=network, classes=3)
