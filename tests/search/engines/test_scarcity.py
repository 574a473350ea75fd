"""Searches that run out of disk or of memory."""

import os
import subprocess

import pytest

from quietspike.core.weights import load_tensors

FILLER = "filler"
LEFT = 8192
"""Bytes that are left on the full disk: enough for a line of the journal, too few for a checkpoint."""


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB in memory, as a folder."""
    if os.geteuid() != 0:
        pytest.skip("a small file system takes a mount, and that takes root")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder, left):
    with (folder / FILLER).open("wb") as file:
        free = os.statvfs(folder)
        file.write(bytes(free.f_bavail * free.f_frsize - left))


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, LEFT])
def test_a_disk_that_is_full_while_a_checkpoint_is_written(new_search, undisturbed, small_disk, tmp_path, left):
    """One line, the earlier checkpoint whole, no placement blamed; with room again the same command goes on."""
    search = new_search(tracking={"uri": f"sqlite:///{tmp_path}/mlflow.db"})
    (tmp_path / "mlflow.db").write_bytes(search.store.read_bytes())
    search.store = tmp_path / "mlflow.db"
    search.move_to(small_disk)
    search.block(step=4)
    search.start()
    search.blocked()
    before = search.facts
    [checkpoint] = search.folder.glob("trials/*/checkpoint.safetensors")
    whole = checkpoint.read_bytes()
    fill(small_disk, left)
    search.unblock()
    done = search.end()
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("quietspike: ")
    assert "No space left on device" in done.stderr
    assert checkpoint.read_bytes() == whole
    load_tensors(checkpoint)
    (small_disk / FILLER).unlink()
    assert search.facts == before
    done = search.run()
    assert (done.returncode, done.stderr) == (0, "")
    search.assert_like(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["optuna", "ray"])
def test_a_trial_that_runs_out_of_memory_fails_with_the_reason(new_search, engine):
    """``hungry`` takes more than its process may have; the limit is the process's own, as that of a container."""
    shape = {"candidates": ["none", "hungry", "ta"], "trials": 6, "engine": engine}
    search = new_search(search=shape, confirm={"seeds": 0, "uniform": None})
    done = search.run()
    assert (done.returncode, done.stderr) == (0, "")
    reasons = {trial.placement.label: trial.outcome.reason for trial in search.study.results()}
    assert len(reasons) == 6
    assert all(bool(reason) == ("hungry" in label) for label, reason in reasons.items())
    assert {reason for reason in reasons.values() if reason} == {"MemoryError"}
    search.assert_nothing_runs()
