"""Shared by all tests: one thread per worker, so that two workers do not fight over two cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
