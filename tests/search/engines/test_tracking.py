"""What a search leaves in MLflow, asked for as its users do; and stores that cannot be reached."""

import math
import os
import socket
import subprocess
import sys
import time

import mlflow
import pytest
from mlflow import MlflowClient

from quietspike.search import tracking
from quietspike.search.cli import main
from quietspike.search.tracking import TrackingError, open_tracker

from .conftest import wait_until

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
    assert files | {"front", "weights"} == names()
    front = sorted(path.name for path in (undisturbed.folder / "front").iterdir())
    assert {f"front/{name}" for name in front} == names("front")
    digests = {name.removesuffix(".yaml").split("-")[1] for name in front}
    assert {f"weights/{digest}" for digest in digests} == names("weights")
    for digest in digests:
        assert names(f"weights/{digest}") == {f"weights/{digest}/weights.safetensors"}
    assert set(parent.data.metrics) >= {"hypervolume", "front_size", "trials"}


def test_going_on_keeps_the_parent_and_says_what_changed(tiny_experiment):
    first = open_tracker(tiny_experiment(), {"git.commit": "one"})
    first.parent.end("KILLED")
    changed = tiny_experiment(search={"trials": 9, "hypervolume_reference": [0.1, 1e5]}, confirm={"seeds": 4})
    again = open_tracker(changed, {"git.commit": "two"})
    assert again == first
    run = MlflowClient(first.uri).get_run(first.parent_id)
    assert run.info.status == "RUNNING"
    expected = {"search.trials": "9", "confirm.seeds": "4", "git.commit": "two"}
    assert expected.items() <= run.data.tags.items()
    other = open_tracker(tiny_experiment(seed=1), {})
    assert other.parent_id != first.parent_id
    assert other.experiment_id == first.experiment_id


def test_folders_with_quotes(tiny_experiment, tmp_path):
    experiment = tiny_experiment(output=str(tmp_path / "o'clock"))
    first = open_tracker(experiment, {})
    assert open_tracker(experiment, {}) == first


def test_a_child_that_raises_fails_with_the_reason(tiny_experiment):
    tracker = open_tracker(tiny_experiment(), {})
    with pytest.raises(ValueError, match="no"), tracker.child("trial", "name", {"site.x": "ta"}):
        raise ValueError("no\nmore")
    [run] = children(tracker)
    assert (run.info.status, run.data.tags["quietspike.reason"]) == ("FAILED", "ValueError: no")


def test_a_child_that_is_interrupted_is_killed(tiny_experiment):
    tracker = open_tracker(tiny_experiment(), {})
    with pytest.raises(KeyboardInterrupt), tracker.child("training", "name", {}):
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
        assert {run.info.status for run in children(tracker)} == {"KILLED", "FINISHED"}


def children(tracker):
    query = f"tags.`mlflow.parentRunId` = '{tracker.parent_id}'"
    return list(MlflowClient(tracker.uri).search_runs([tracker.experiment_id], query))


# stores that cannot be reached


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://127.0.0.1:9", "Connection refused"),
        ("file:///tmp/mlruns", "filesystem tracking backend"),
        ("sqlite:////proc/none/mlflow.db", "No such file or directory"),
        ("nonsense://x", "nonsense://x"),
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
    assert not list((tmp_path / "runs").glob("*/study.journal"))


def test_a_server_that_never_answers_is_given_up(tiny_data, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(tracking.IMPATIENCE, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begin = time.monotonic()
        status, errors = search_with(uri, tiny_data, tmp_path, capsys)
    assert time.monotonic() - begin < 30
    assert status == 2
    assert errors.startswith(f"quietspike: tracking.uri: {uri}: ")
    assert errors.count("\n") == 1


def search_with(uri, tiny_data, tmp_path, capsys):
    import yaml

    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(tiny_data()), encoding="utf-8")
    status = main(["search", str(file), "--tracking.uri", uri])
    return status, capsys.readouterr().err


def test_impatience_ends_when_the_store_is_open_and_yields_to_the_users(tiny_experiment, monkeypatch):
    seen = {}

    def experiment_id(*args):
        seen.update(os.environ)
        return real(*args)

    real = tracking._experiment_id
    monkeypatch.setattr(tracking, "_experiment_id", experiment_id)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    open_tracker(tiny_experiment(), {})
    assert seen["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    assert seen["MLFLOW_HTTP_REQUEST_TIMEOUT"] == os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_a_store_that_breaks_later_is_a_tracking_error(tiny_experiment):
    tracker = open_tracker(tiny_experiment(), {})
    gone = tracking.Tracker("http://127.0.0.1:9", tracker.experiment_id, tracker.parent_id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(TrackingError, match=r"tracking\.uri: http://127\.0\.0\.1:9: "):
            gone.parent.log_metrics({"accuracy": 1.0})
        with pytest.raises(TrackingError), gone.child("trial", "name", {}):
            pass


@pytest.mark.slow
def test_a_server_of_mlflow_gets_everything(new_search, undisturbed, store_template, tmp_path):
    """The same runs, metrics and artifacts through a tracking server as in SQLite."""
    store = tmp_path / "mlflow.db"
    store.write_bytes(store_template.read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", f"sqlite:///{store}", "--artifacts-destination", str(tmp_path / "artifacts")]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([*command, *places], stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: answers(port))
        search = new_search()
        done = search.run("--tracking.uri", uri)
        assert (done.returncode, done.stderr) == (0, "")
        client = MlflowClient(uri)
        [experiment] = [e for e in client.search_experiments() if e.name == "quietspike"]
        found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
        assert [run.data.params for run in found] == [run.data.params for run in undisturbed.runs()]
        [parent] = [run for run in found if run.data.tags["quietspike.kind"] == "search"]
        names = {entry.path for entry in client.list_artifacts(parent.info.run_id)}
        assert {"front", "weights", "pareto.png", "trials.csv"} <= names
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
