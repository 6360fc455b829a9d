"""The diagnostics by name: what each one answers."""

from __future__ import annotations

__all__ = ["FINDINGS", "names"]

FINDINGS = {
    "autoencoder_audit": "What does the autoencoder decode and reconstruct besides the data manifold?",
    "manifold_overfitting": "Has the density collapsed onto the manifold while the distribution on it is wrong?",
    "repair": "What does refitting the law of the latents gain, with the decoder kept?",
    "sample_quality": "Are samples faithful, diverse and new?",
    "score_health": "Down to which noise level are a diffusion model's scores right, and what do they do to samples?",
    "score_norm_growth": "Do scores stay bounded among latents where those of the data grow without limit?",
    "wasserstein_bound": "How far is a two-step model from the data at most, and which step is to blame?",
}


def names() -> list[str]:
    """The names of all diagnostics."""
    return sorted(FINDINGS)
