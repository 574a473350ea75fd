"""What a worker is given to do."""

from __future__ import annotations

from dataclasses import dataclass

from quietspike.core import Placement
from quietspike.search.design import Design


@dataclass(frozen=True)
class Claim:
    """A design to train.

    Args:
        number: of its trial.
        design: what to train.
    """

    number: int
    design: Design

    @property
    def placement(self) -> Placement:
        """Which attention where."""
        return self.design.placement
