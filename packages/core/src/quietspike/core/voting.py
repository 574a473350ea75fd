"""Samples of several clips: when their clips together are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from quietspike.core.checks import check_whole
from quietspike.core.errors import OptionError


@dataclass(frozen=True)
class Voting:
    """How a sample's clips decide on it.

    Args:
        clips: of each sample; they follow one another in their split.
        rule: ``majority`` asks for more than half of the clips to be right; ``plurality`` for the class that most clips
            choose, and of equally many the one of the highest summed score, to be right.

    Raises:
        OptionError: if a value is out of its range.

    Source:
        Majority: the test of the code of Yao et al. 2023, Attention Spiking Neural Networks, over ten clips.
    """

    clips: int = 1
    rule: Literal["majority", "plurality"] = "majority"

    def __post_init__(self) -> None:
        check_whole(clips=self.clips)
        if self.rule not in ("majority", "plurality"):
            raise OptionError(f"vote={self.rule!r}: must be 'majority' or 'plurality'")

    def count_right(self, scores: Tensor, labels: Tensor) -> int:
        """How many samples are right.

        Shape:
            scores [N · clips, classes] and classes [N · clips] of all clips.
        """
        by_sample = scores.reshape(-1, self.clips, scores.shape[-1])
        right = labels.reshape(-1, self.clips)[:, 0]
        if self.rule == "majority":
            return int((2 * (by_sample.argmax(2) == right[:, None]).sum(1) > self.clips).sum())
        votes = torch.zeros_like(by_sample).scatter_(2, by_sample.argmax(2, keepdim=True), 1).sum(1)
        most = votes == votes.amax(1, keepdim=True)
        chosen = by_sample.sum(1).masked_fill(~most, -torch.inf).argmax(1)
        return int((chosen == right).sum())


ONE_CLIP = Voting()
"""A sample is its only clip."""
