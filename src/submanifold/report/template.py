"""What every page is made with: templates, words for numbers, and a policy that forbids to fetch anything."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING

from submanifold.report import wording

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["asset", "environment", "policy"]


def asset(name: str) -> str:
    """The text of one file among the templates."""
    return (resources.files("submanifold.report") / "templates" / name).read_text(encoding="utf-8")


def environment() -> Environment:
    """Where templates find each other and the words for numbers; everything put into them is escaped."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    made = Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        estimate=wording.estimate,
        fact=wording.fact,
        interval=wording.interval,
        slug=wording.slug,
        words=wording.words,
    )
    return made


def policy(scripts: list[str]) -> str:
    """A content security policy under which exactly `scripts` run, and nothing is fetched.

    Scripts are named by their digests, so that text from the data could not run even if it escaped its escaping.
    """
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
