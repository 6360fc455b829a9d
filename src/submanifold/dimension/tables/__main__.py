"""Make the shipped tables anew: `python -m submanifold.dimension.tables [reference] [danco]`, or all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from submanifold.checks import check_choice
from submanifold.dimension import danco_reference, reference

TABLES: dict[str, Callable[[str], None]] = {
    "reference": reference.build_table,  # seconds
    "danco": danco_reference.build_table,  # a quarter of an hour
}

for name in sys.argv[1:] or TABLES:
    TABLES[check_choice(name, TABLES, name="table")](str(Path(__file__).with_name(f"{name}.npz")))
