"""Searches with ``strategy: supernet`` as a user starts them: killed anywhere, and with both engines."""

import pytest

from quietspike.core.weights import load_tensors

from .conftest import wait_until

SUPERNET = {"strategy": "supernet", "trials": 4, "supernet": {"epochs": 3, "scored": 30, "population": 6}}
NOTHING = {"seeds": 0}
"""Is confirmed: that is as for any strategy."""


def kept(search):
    """What a supernet leaves, but for the seconds that it took."""
    tensors, record = load_tensors(search.folder / "supernet" / "weights.safetensors")
    texts = [(search.folder / "supernet" / name).read_text("utf-8") for name in ("scores.csv", "placements.json")]
    return {name: tensor.tolist() for name, tensor in tensors.items()}, record, *texts


@pytest.fixture(scope="module")
def whole(new_search):
    """One that nothing happens to."""
    search = new_search(search=SUPERNET, confirm=NOTHING)
    done = search.run()
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("supernet ")] == [
        f"supernet {epoch}/3: epoch {epoch}" for epoch in range(1, 4)
    ]
    assert "score 30/30" in done.stdout
    return search


@pytest.mark.slow
def test_killed_in_training_and_in_scoring_it_ends_bitwise_as_if_it_had_not_been(new_search, whole):
    search = new_search(search=SUPERNET, confirm=NOTHING)
    supernet = search.folder / "supernet"
    search.block(step=3)
    search.start()
    worker = search.blocked()
    worker.kill()  # its successor goes on at the checkpoint
    search.unblock()
    wait_until((supernet / "checkpoint.safetensors").exists)
    search.kill()
    assert not (supernet / "weights.safetensors").exists()
    search.start()
    wait_until((supernet / "scores.csv").exists)
    search.kill()
    assert not (supernet / "placements.json").exists()
    assert search.facts == []
    done = search.run()
    assert done.returncode == 0, done.stderr
    assert kept(search) == kept(whole)
    search.assert_like(whole)
    runs = search.runs("supernet")
    assert [run.info.status for run in runs].count("FINISHED") == 1
    assert {run.info.status for run in runs} == {"FINISHED", "KILLED"}


def test_its_run_has_the_metrics_of_each_epoch_and_its_search_the_files(whole):
    from mlflow import MlflowClient

    [run] = whole.runs("supernet")
    client = MlflowClient(f"sqlite:///{whole.store}")
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "train_loss")] == [1, 2, 3]
    [parent] = whole.runs("search")
    listed = {artifact.path for artifact in client.list_artifacts(parent.info.run_id, "supernet")}
    assert listed == {f"supernet/{name}" for name in ("weights.safetensors", "scores.csv", "epochs.csv")}


def test_what_is_tried_is_uniform_and_then_the_queue(whole):
    from quietspike.search.queue import read_queue
    from quietspike.search.space import open_space

    uniform = list(dict.fromkeys(open_space(whole.experiment).uniform.values()))
    queue = [d.placement for d in read_queue(whole.folder) if d.placement not in uniform]
    assert [placement for placement, *_ in whole.facts] == [*uniform, *queue][:4]


def test_a_candidate_that_raises_ends_it_in_one_line(new_search):
    search = new_search(search={**SUPERNET, "candidates": ["none", "raising"]}, confirm={**NOTHING, "uniform": None})
    done = search.run()
    assert done.returncode == 2
    path = search.folder / "supernet" / "error.txt"
    assert done.stderr == f"quietspike: the supernet failed with RuntimeError: no attention today; see {path}\n"
    assert "second line" in path.read_text(encoding="utf-8")
    [run] = search.runs("supernet")
    assert run.info.status == "FAILED"


@pytest.mark.slow
def test_ray_tries_what_optuna_tries(new_search, whole):
    search = new_search(search={**SUPERNET, "engine": "ray"}, confirm=NOTHING)
    done = search.run()
    assert done.returncode == 0, done.stderr
    assert kept(search) == kept(whole)
    search.assert_like(whole)
