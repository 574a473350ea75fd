"""Numbers that the authors' own code produced, and their weights by their own names."""

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def golden():
    """Arrays by name; frames are [B, T, C, H, W] there."""
    with np.load(Path(__file__).parents[1] / "golden" / "attention_lif.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="session")
def golden_weights(golden):
    """The reference's state dict of one of its attentions."""

    def of(name):
        prefix = f"{name}/weight/"
        return {key.removeprefix(prefix): value for key, value in golden.items() if key.startswith(prefix)}

    return of
