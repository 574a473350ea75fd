"""Random streams that share nothing: one for each purpose of a run's seed, and for each epoch."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, purpose: str, number: int = 0) -> int:
    """A seed for torch, below 2⁶³; those of other seeds, purposes or numbers are unrelated to it.

    Args:
        seed: of the run, any integer.
        purpose: what is drawn, as in ``weights``.
        number: which of them, as the epoch.
    """
    digest = hashlib.sha256(f"{seed} {purpose} {number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
