"""Every test of a model starts from the same noise, on one thread."""

import pytest
import torch


@pytest.fixture(autouse=True)
def same_noise_one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
