"""Parts of a range on several threads: torch's own, and a pool where those cannot be had."""

import pytest
import torch

from quietspike.core.kernels import threads


@pytest.fixture(params=["openmp", "pool"], autouse=True)
def _way(request, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    if request.param == "pool":
        monkeypatch.setattr(threads, "_openmp", lambda: None)
    elif threads._openmp() is None:
        pytest.skip("torch's threads are not those of GNU's OpenMP")
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("size", "grain"), [(0, 1), (1, 1), (7, 3), (100, 1), (100, 33), (5, 100)])
def test_every_part_is_done_once_and_begins_at_a_grain(size, grain):
    done = []
    threads.over_parts(lambda start, stop: done.append((start, stop)), size, grain)
    covered = [number for start, stop in sorted(done) for number in range(start, stop)]
    assert covered == list(range(size))
    assert all(start % grain == 0 for start, _ in done)


def test_what_a_part_raises_is_raised():
    def fail(start, stop):
        if start > 0:
            raise ValueError(start)

    for _ in range(3):
        with pytest.raises(ValueError, match=r"\d+"):
            threads.over_parts(fail, 30, 1)
