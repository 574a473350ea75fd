"""The stages of a residual network: blocks in a row, of which the first may halve height and width."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

STAGES = ("stage1", "stage2", "stage3", "stage4")


def add_stages(
    network: nn.Module,
    build: Callable[..., nn.Module],
    blocks: Sequence[int],
    widths: Sequence[int],
    strides: Sequence[int],
) -> None:
    """Give a network ``stage1`` to ``stage4``, each with its ``block1``, ``block2`` and so on.

    Args:
        network: gets them as children.
        build: called as ``build(name, channels=(into, out), stride=...)``, with a name as ``stage1.block1``.
        blocks: in each stage.
        widths: channels of each stage, the first also of what comes before it.
        strides: of each stage's first block.
    """
    into = widths[0]
    for stage, count, out, first in zip(STAGES, blocks, widths, strides, strict=True):
        group = nn.Sequential()
        for number in range(1, count + 1):
            name, stride = f"block{number}", first if number == 1 else 1
            group.add_module(name, build(f"{stage}.{name}", channels=(into, out), stride=stride))
            into = out
        network.add_module(stage, group)


def run_stages(network: nn.Module, x: Tensor) -> Tensor:
    """What the stages make of [T, B, C, H, W]."""
    for stage in STAGES:
        x = network.get_submodule(stage)(x)
    return x
