"""An epoch of N-MNIST's small part: from our cache, and from the files through tonic's own pipeline.

    python benchmarks/loading.py

Both give batches of 16 as float32 [T, B, 2, H, W], 1,000 samples, eight frames each. Tonic's is a torch DataLoader over
its reader and ToFrame, without and with its own disk cache. The round that builds the caches, and in which ours checks
every byte of its own, does not count.
"""

from __future__ import annotations

import tempfile

import numpy as np
import tonic
import torch
from timing import best_seconds, recordings
from tonic.io import read_mnist_file

from quietspike.core.batches import Batches
from quietspike.datasets import NMNIST
from quietspike.datasets.lists import read_list

DTYPE = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])


class Files(torch.utils.data.Dataset):
    """The recordings through tonic's reader and ToFrame."""

    def __init__(self, folder, listed):
        self.folder, self.listed = folder, listed
        self.frames = tonic.transforms.ToFrame(sensor_size=(34, 34, 2), n_time_bins=8)

    def __len__(self):
        return len(self.listed)

    def __getitem__(self, index):
        sample, label = self.listed[index]
        events = read_mnist_file(str(self.folder / f"{sample}.bs2"), dtype=DTYPE)
        return self.frames(events), label


def main():
    """Print milliseconds an epoch."""
    folder = recordings("nmnist-small")
    files = Files(folder, [tuple(entry) for entry in read_list(folder / "train1K.txt", 10)])
    ours = NMNIST(root=folder, validation=1).split("train")  # 999 samples
    with tempfile.TemporaryDirectory() as temporary:
        cached = tonic.DiskCachedDataset(files, cache_path=temporary)
        seconds = best_seconds(
            {
                "quietspike, from its cache": lambda: run(Batches(ours, 16, seed=0).epoch()),
                "tonic, from the files": lambda: run(theirs(files)),
                "tonic, from its DiskCachedDataset": lambda: run(theirs(cached)),
            },
            rounds=5,
        )
    fastest = seconds["quietspike, from its cache"]
    print(f"{'':36} ms an epoch   times ours")
    for name, taken in seconds.items():
        print(f"{name:36} {1e3 * taken:11.1f} {taken / fastest:12.1f}")


def theirs(dataset):
    """Tonic's batches, with steps first and as float32, as ours are."""
    loader = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True)
    return ((frames.transpose(0, 1).float().contiguous(), labels) for frames, labels in loader)


def run(batches):
    """Use them up."""
    for frames, labels in batches:
        assert frames.shape[1] == len(labels)


if __name__ == "__main__":
    main()
