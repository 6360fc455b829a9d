"""Run by torchrun: each process fits the same toy and prints its weights and its history.

torchrun --nproc_per_node 2 training_processes.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from training_toys import TOYS, NoisyCoder, toy_data

from submanifold.models import MODELS
from submanifold.training import fit

for name, toy in TOYS.items():
    MODELS.register(name)(toy)
torch.manual_seed(0)
model = NoisyCoder((5,))
history = fit(model, toy_data(), steps=60, batch_size=64, device="cpu", run=sys.argv[1], patience=3)
weights = torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()
rank = torch.distributed.get_rank()
Path(sys.argv[1], f"rank{rank}.txt").write_text(repr((weights, history.column("held_out_loss").tolist())))
torch.distributed.destroy_process_group()
