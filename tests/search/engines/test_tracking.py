"""What a search leaves in MLflow, asked for as its users do; and stores that cannot be reached."""

import contextlib
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow import MlflowClient

from quietspike.search import sending, store, tracking
from quietspike.search.cli import main
from quietspike.search.tracking import open_tracker, track_training

from .conftest import PATIENCE, wait_until

SITES = ["block1.current", "block2.current", "block3.current", "fc1.current", "fc2.current"]


@pytest.fixture
def runs(undisturbed):
    """``mlflow.search_runs`` on the store of a finished search."""
    mlflow.set_tracking_uri(f"sqlite:///{undisturbed.store}")

    def search(query="", **options):
        return mlflow.search_runs(experiment_names=["quietspike"], filter_string=query, **options)

    yield search
    mlflow.set_tracking_uri(None)


def test_one_parent_and_its_children(runs, undisturbed):
    table = runs()
    [parent] = table[table["tags.quietspike.kind"] == "search"].run_id
    children = table[table["tags.quietspike.kind"] != "search"]
    assert set(children["tags.mlflow.parentRunId"]) == {parent}
    assert set(table.status) == {"FINISHED"}
    kinds = children["tags.quietspike.kind"].value_counts()
    assert kinds["trial"] == len(undisturbed.facts) == 8
    assert kinds["confirmation"] == sum(len(outcomes) for _, outcomes in undisturbed.confirmed)


def test_a_childs_parameters_are_what_varies(undisturbed):
    sites = {f"site.{name}" for name in SITES}
    for run in undisturbed.runs("trial"):
        assert set(run.data.params) == sites
    for run in undisturbed.runs("confirmation"):
        assert set(run.data.params) == {*sites, "seed"}
    placements = [tuple(run.data.params[f"site.{name}"] for name in SITES) for run in undisturbed.runs("trial")]
    assert len(set(placements)) == 8
    assert placements[:2] == [("none",) * 5, ("ta",) * 5]


def test_the_rest_stands_in_the_parent(undisturbed):
    [parent] = undisturbed.runs("search")
    params, tags = parent.data.params, parent.data.tags
    assert params["train.learning_rate"] == "0.01"
    assert params["dataset.name"] == "digits_dvs"
    assert params["search.sampler"] == "nsga2"
    assert params["seed"] == "0"
    assert not any(key.startswith("site.") for key in params)
    changeable = {"search.trials": "8", "search.workers": "1", "search.engine": "optuna", "confirm.seeds": "2"}
    assert changeable.items() <= tags.items()
    assert "search.hypervolume_reference" in tags
    assert not set(tags) & set(params)
    assert tags["quietspike.folder"] == str(undisturbed.folder.resolve())
    assert {"version.torch", "version.quietspike-core", "git.commit"} <= set(tags)


def test_metrics_by_epoch(undisturbed):
    client = MlflowClient(f"sqlite:///{undisturbed.store}")
    for run in undisturbed.runs("trial"):
        names = {"loss", "accuracy", "spikes", "energy", "synaptic_operations", "train_loss", "learning_rate"}
        assert names <= set(run.data.metrics)
        assert {f"firing_rate/{layer}" for layer in ("block1", "block2", "block3", "fc1", "fc2")} <= set(
            run.data.metrics
        )
        for name in run.data.metrics:
            history = client.get_metric_history(run.info.run_id, name)
            assert [metric.step for metric in history] == [1, 2], name
            assert all(math.isfinite(metric.value) for metric in history)
    for run in undisturbed.runs("confirmation"):
        [metric] = client.get_metric_history(run.info.run_id, "test_accuracy")
        assert metric.step == 2
        assert "test_firing_rate/block1" in run.data.metrics


def test_last_metrics_are_the_trials_outcome(undisturbed):
    metrics = [run.data.metrics for run in undisturbed.runs("trial")]
    shown = [
        (found["accuracy"], {name: found[name] for name in fact[2]})
        for found, fact in zip(metrics, undisturbed.facts, strict=True)
    ]
    assert shown == [fact[1:] for fact in undisturbed.facts]


def test_comparing_trials_by_accuracy_spikes_and_site(runs, undisturbed):
    floor = sorted(fact[1] for fact in undisturbed.facts)[3] - 1e-9
    query = f"metrics.accuracy > {floor} and params.`site.block1.current` = 'ta' and tags.`quietspike.kind` = 'trial'"
    table = runs(query, order_by=["metrics.spikes ASC"])
    expected = [
        (accuracy, totals["spikes"])
        for placement, accuracy, totals in undisturbed.facts
        if accuracy > floor and placement.data.get("block1.current") == "ta"
    ]
    found = list(zip(table["metrics.accuracy"], table["metrics.spikes"], strict=True))
    assert len(found) >= 1
    assert sorted(found) == sorted(expected)
    assert list(table["metrics.spikes"]) == sorted(table["metrics.spikes"])
    assert set(table["params.site.block1.current"]) == {"ta"}


def test_artifacts_of_the_parent(undisturbed):
    client = MlflowClient(f"sqlite:///{undisturbed.store}")
    [parent] = undisturbed.runs("search")

    def names(folder=None):
        return {entry.path for entry in client.list_artifacts(parent.info.run_id, folder)}

    files = {"experiment.yaml", "trials.csv", "confirmation.csv", "pareto.png", "pareto.svg"}
    assert files | {"front", "confirmed", "weights"} == names()
    for folder in ("front", "confirmed"):
        assert {f"{folder}/{path.name}" for path in (undisturbed.folder / folder).iterdir()} == names(folder)
    front = [path.name for path in (undisturbed.folder / "front").iterdir()]
    digests = {name.removesuffix(".yaml").split("-")[1] for name in front}
    assert {f"weights/{digest}" for digest in digests} == names("weights")
    for digest in digests:
        assert names(f"weights/{digest}") == {f"weights/{digest}/weights.safetensors"}
    assert set(parent.data.metrics) >= {"hypervolume", "front_size", "trials"}


@pytest.mark.parametrize("kind", ["trial", "confirmation"])
def test_a_run_that_is_repeated_from_its_record_alone_gives_bitwise_the_same(undisturbed, tmp_path, kind):
    client = MlflowClient(f"sqlite:///{undisturbed.store}")
    [parent] = undisturbed.runs("search")
    run = undisturbed.runs(kind)[-1]
    sites = {key.removeprefix("site."): label for key, label in run.data.params.items() if key.startswith("site.")}
    placement = tmp_path / "placement.yaml"
    placement.write_text(yaml.safe_dump({site: label for site, label in sites.items() if label != "none"}))
    seed = run.data.params.get("seed", parent.data.params["seed"])
    experiment = client.download_artifacts(parent.info.run_id, "experiment.yaml", str(tmp_path))
    output = tmp_path / "again"
    command = [Path(sys.executable).with_name("quietspike"), "train", experiment, "--placement", placement]
    command += ["--seed", seed, "--output", output]
    subprocess.run(command, env=undisturbed.environment, check=True, capture_output=True, timeout=PATIENCE)
    again = MlflowClient(f"sqlite:///{output / 'mlflow.db'}")
    [group] = again.search_experiments(filter_string="name = 'quietspike'")
    [repeated] = again.search_runs([group.experiment_id])
    names = run.data.metrics.keys() - {"seconds"}
    assert ("test_accuracy" in names) == (kind == "confirmation")
    assert len(names) > 10
    for name in names:
        histories = [
            [(metric.step, metric.value) for metric in store.get_metric_history(which.info.run_id, name)]
            for store, which in ((client, run), (again, repeated))
        ]
        assert histories[1] == histories[0], name


def test_going_on_keeps_the_parent_and_says_what_changed(tiny_experiment):
    first = open_tracker(tiny_experiment(), {"git.commit": "one"})
    first.parent.end("KILLED")
    before = parent_id(first)
    changed = tiny_experiment(search={"trials": 9, "hypervolume_reference": [0.1, 1e5]}, confirm={"seeds": 4})
    again = open_tracker(changed, {"git.commit": "two"})
    assert again == first
    assert parent_id(again) == before
    run = MlflowClient(first.uri).get_run(before)
    assert run.info.status == "RUNNING"
    expected = {"search.trials": "9", "confirm.seeds": "4", "git.commit": "two"}
    assert expected.items() <= run.data.tags.items()
    other = open_tracker(tiny_experiment(seed=1), {})
    assert parent_id(other) != before
    assert other.group == first.group


def test_folders_with_quotes(tiny_experiment, tmp_path):
    experiment = tiny_experiment(output=str(tmp_path / "o'clock"))
    first = open_tracker(experiment, {})
    shutil.rmtree(first.folder)
    assert len(stored(open_tracker(experiment, {}))) == 1, "the store was asked for the search of the folder"


def test_a_child_that_raises_fails_with_the_reason(tiny_experiment):
    tracker = open_tracker(tiny_experiment(), {})
    with pytest.raises(ValueError, match="no"), tracker.child("trial", "name", {"site.x": "ta"}):
        raise ValueError("no\nmore")
    [run] = children(tracker)
    assert (run.info.status, run.data.tags["quietspike.reason"]) == ("FAILED", "ValueError: no")


def test_a_child_that_is_stopped_early_is_no_finished_one(tiny_experiment):
    tracker = open_tracker(tiny_experiment(), {})
    with tracker.child("trial", "name", {}) as run:
        run.log_metrics({"accuracy": 0.5}, step=3)
        run.stop(3)
    [child] = children(tracker)
    assert child.info.status == "KILLED"
    expected = {"quietspike.stopped": "3", "quietspike.reason": "stopped early after epoch 3"}
    assert expected.items() <= child.data.tags.items()


def test_a_child_that_is_interrupted_is_killed(tiny_experiment):
    tracker = open_tracker(tiny_experiment(), {})
    with pytest.raises(KeyboardInterrupt), tracker.child("confirmation", "name", {}):
        raise KeyboardInterrupt
    [run] = children(tracker)
    assert (run.info.status, run.data.tags["quietspike.reason"]) == ("KILLED", "KeyboardInterrupt")


def test_dead_workers_runs_are_ended(tiny_experiment, monkeypatch):
    tracker = open_tracker(tiny_experiment(), {})
    with tracker.child("trial", "name", {}):
        tracker.end_dead()
        assert [run.info.status for run in children(tracker)] == ["RUNNING"]
        with monkeypatch.context() as patch:
            patch.setattr(tracking, "is_alive", lambda worker: False)
            tracker.end_dead()
        [run] = children(tracker)
        assert (run.info.status, run.data.tags["quietspike.reason"]) == ("KILLED", "its worker died")
    with tracker.child("trial", "name", {}):
        tracker.end_all()
    assert [run.info.status for run in children(tracker)] == ["KILLED", "KILLED"], "what the driver ended stays so"


def stored(tracker, query=""):
    """MLflow's runs once the spool was sent."""
    tracker.sender().send(60)
    client = MlflowClient(tracker.uri)
    return list(client.search_runs([client.get_experiment_by_name(tracker.group).experiment_id], query))


def parent_id(tracker):
    [run] = stored(tracker, f"tags.`quietspike.kind` = 'search' and tags.`quietspike.folder` = '{folder_of(tracker)}'")
    return run.info.run_id


def folder_of(tracker):
    return tracker.folder.parents[1].resolve()


def children(tracker):
    return stored(tracker, f"tags.`mlflow.parentRunId` = '{parent_id(tracker)}'")


# trainings outside of the search


def status_of(tracker):
    return MlflowClient(tracker.uri).get_run(parent_id(tracker)).info.status


def trainings(tracker):
    return stored(tracker, "tags.`quietspike.kind` = 'training'")


def test_a_training_is_a_run_of_its_own_beside_the_search(tiny_experiment):
    experiment = tiny_experiment(seed=3)
    with track_training(experiment, "mine", {"site.block1.current": "ta"}, {"git.commit": "one"}) as run:
        run.log_metrics({"accuracy": 0.5})
    tracker = open_tracker(experiment, {})
    assert status_of(tracker) == "RUNNING", "the training's run is not taken for the search's"
    [run] = trainings(tracker)
    assert (run.info.status, run.info.run_name, run.data.metrics) == ("FINISHED", "mine", {"accuracy": 0.5})
    expected = {"seed": "3", "train.epochs": "1", "dataset.name": "digits_dvs", "search.trials": "4"}
    assert {**expected, "site.block1.current": "ta"}.items() <= run.data.params.items()
    assert run.data.tags["quietspike.folder"] == str(experiment.folder.resolve())
    assert run.data.tags["git.commit"] == "one"
    assert "mlflow.parentRunId" not in run.data.tags


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (None, "FINISHED")]
)
@pytest.mark.parametrize("before", ["RUNNING", "FINISHED"])
def test_a_training_leaves_the_search_as_it_is(tiny_experiment, error, status, before):
    tracker = open_tracker(tiny_experiment(), {})
    if before != "RUNNING":
        tracker.parent.end(before)
    with contextlib.suppress(ValueError, KeyboardInterrupt), track_training(tiny_experiment(), "mine", {}, {}):
        if error is not None:
            raise error
    assert status_of(tracker) == before
    [run] = trainings(tracker)
    assert run.info.status == status
    reason = {ValueError: "ValueError", KeyboardInterrupt: "KeyboardInterrupt", None: None}[error]
    assert run.data.tags.get("quietspike.reason") == reason


def test_a_search_that_starts_and_ends_leaves_a_training_as_it_is(tiny_experiment):
    with track_training(tiny_experiment(), "mine", {}, {}):
        tracker = open_tracker(tiny_experiment(), {})
        tracker.end_all()
        tracker.parent.end("KILLED")
        assert [run.info.status for run in trainings(tracker)] == ["RUNNING"]


def test_a_training_ends_those_of_its_folder_that_died(tiny_experiment, monkeypatch):
    with track_training(tiny_experiment(), "living", {}, {}), track_training(tiny_experiment(), "other", {}, {}):
        tracker = open_tracker(tiny_experiment(), {})
        assert [run.info.status for run in trainings(tracker)] == ["RUNNING", "RUNNING"]
        monkeypatch.setattr(tracking, "is_alive", lambda worker: False)
        with track_training(tiny_experiment(seed=1), "of another folder", {}, {}):
            wait_until(lambda: [run.info.status for run in trainings(tracker)].count("RUNNING") == 3)
        with track_training(tiny_experiment(), "third", {}, {}):
            assert [run.info.status for run in trainings(tracker)].count("KILLED") == 2


def test_mlflow_is_told_to_send_nothing_before_it_is_imported():
    code = "import quietspike.search, mlflow.telemetry as t; print(t.get_telemetry_client())"
    clean = {key: value for key, value in os.environ.items() if key not in ("CI", "MLFLOW_DISABLE_TELEMETRY")}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


# stores that several open, or that cannot be reached

OPEN = """
import sys
from quietspike.search.config import load_experiment
from quietspike.search.tracking import open_tracker

experiment = load_experiment(None, ["--output", sys.argv[1], "--seed", sys.argv[2]])
print("ready", flush=True)
sys.stdin.readline()
sender = open_tracker(experiment, {}).sender()
sender.send()
print(sender.connect())
"""


def test_a_new_store_may_be_opened_by_two_at_the_same_moment(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", OPEN, str(tmp_path / "runs")]
    both = [subprocess.Popen([*command, str(seed)], **pipes) for seed in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    done = [(*process.communicate(timeout=120), process.returncode) for process in both]
    assert done[0] == done[1]
    assert done[0][1:] == ("", 0)
    files = sorted(path.name for path in (tmp_path / "runs").iterdir() if path.is_file())
    assert files == ["mlflow.db", "mlflow.db.lock"]
    assert len(list((tmp_path / "runs").glob("*/tracking/*/search-*.sent"))) == 2


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("foo", "a folder is no store; give a database, such as sqlite:///mlflow.db, or a server, such as "),
        (
            "file:///tmp/mlruns",
            "a folder is no store; give a database, such as sqlite:///mlflow.db, or a server, such ",
        ),
        ("sqlite:////proc/none/mlflow.db", "No such file or directory"),
        ("nonsense://x", "unsupported URI 'nonsense://x' for model registry data storage\n"),
    ],
)
def test_a_store_that_cannot_be_reached_is_one_line_before_any_training(tiny_data, tmp_path, capsys, uri, reason):
    begin = time.monotonic()
    status, errors = search_with(uri, tiny_data, tmp_path, capsys)
    assert time.monotonic() - begin < 30
    assert status == 2
    assert errors.startswith(f"quietspike: tracking.uri: {uri}: ")
    assert reason in errors
    assert errors.count("\n") == 1
    assert not list((tmp_path / "runs").glob("*/trials"))


def search_with(uri, tiny_data, tmp_path, capsys):
    import yaml

    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(tiny_data()), encoding="utf-8")
    status = main(["search", str(file), "--tracking.uri", uri])
    return status, capsys.readouterr().err


def test_impatience_ends_when_the_store_is_open_and_yields_to_the_users(tiny_experiment, monkeypatch):
    seen = {}

    def find_group(*args):
        seen.update(os.environ)
        return store.find_group(*args)

    monkeypatch.setattr(sending, "find_group", find_group)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    open_tracker(tiny_experiment(), {})
    assert seen["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    assert seen["MLFLOW_HTTP_REQUEST_TIMEOUT"] == os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ
