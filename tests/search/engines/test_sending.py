"""What is logged while the tracking store is away is kept, and sent once, whatever is killed in between."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from quietspike.search import replaying, sending, store
from quietspike.search.spool import Spool
from quietspike.search.store import AwayError, TrackingError
from quietspike.search.tracking import find_tracker, open_tracker, track_training


class Killed(BaseException):
    """Stands for a SIGKILL between two steps of a sender."""


@pytest.fixture
def tracker(tiny_experiment):
    return open_tracker(tiny_experiment(), {"git.commit": "one"})


def everything(tracker):
    """All that MLflow has of a search, but for ids: the search's own run, then its children by name."""
    client = MlflowClient(tracker.uri)
    group = client.get_experiment_by_name(tracker.group)
    runs = client.search_runs([group.experiment_id])
    runs.sort(key=lambda run: ("mlflow.parentRunId" in run.data.tags, run.info.run_name))
    names = {run.info.run_id: run.info.run_name for run in runs}
    return [described(client, run, names) for run in runs]


def described(client, run, names):
    mine = {key: value for key, value in run.data.tags.items() if key.startswith(("quietspike.kind", "quietspike.rea"))}
    histories = {
        key: [
            (metric.step, metric.value, metric.timestamp) for metric in client.get_metric_history(run.info.run_id, key)
        ]
        for key in run.data.metrics
    }
    files = {entry.path: entry.file_size for entry in client.list_artifacts(run.info.run_id)}
    parent = names.get(run.data.tags.get("mlflow.parentRunId"))
    times = (run.info.start_time, run.info.end_time)
    return (run.info.run_name, run.info.status, times, parent, mine, run.data.params, histories, files)


def log_a_search(tracker, folder):
    """A parent with a file, and three children: one that ended, one that failed, one that runs."""
    for number in range(2):
        with contextlib.suppress(ValueError), tracker.child("trial", f"trial {number}", {"site.x": "ta"}) as run:
            for epoch in (1, 2):
                run.log_metrics({"accuracy": epoch / 10, "spikes": float(epoch)}, step=epoch)
            if number:
                raise ValueError("no")
    open_child = tracker.child("trial", "trial 2", {"site.x": "ca"})
    open_child.__enter__().log_metrics({"accuracy": 0.5}, step=1)
    report = folder / "report.csv"
    report.write_text("first\n")
    tracker.parent.log_artifact(report)
    report.unlink()  # what is logged is the file as it was
    tracker.parent.log_metrics({"hypervolume": 1.5})
    return open_child


def test_all_that_was_logged_arrives(tracker, tmp_path):
    open_child = log_a_search(tracker, tmp_path)
    tracker.sender().send()
    parent, ended, failed, running = everything(tracker)
    assert parent[6]["hypervolume"][0][:2] == (0, 1.5)
    assert parent[7] == {"report.csv": len("first\n")}
    assert ended[1] == "FINISHED"
    assert [entry[:2] for entry in ended[6]["spikes"]] == [(1, 1.0), (2, 2.0)]
    assert ended[5] == {"site.x": "ta"}
    assert (failed[1], failed[4]["quietspike.reason"]) == ("FAILED", "ValueError: no")
    assert (running[1], running[2][1]) == ("RUNNING", None)
    assert {child[3] for child in (ended, failed, running)} == {parent[0]}
    assert [run.name.split("-")[1] for run in tracker.spool.runs if not run.lasting] == ["trial"], "what ended is gone"
    assert list((tracker.folder / "files").iterdir()) == []
    open_child.__exit__(None, None, None)
    tracker.sender().send()
    assert everything(tracker)[3][1] == "FINISHED"
    assert tracker.spool.kept == []


STEPS = ("create_run", "log_batch", "set_terminated", "log_artifact", "update_run", "note")


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deaths=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 3)), min_size=1, max_size=4))
def test_a_sender_killed_behind_any_step_doubles_nothing(tiny_in, tmp_path_factory, deaths):
    """The store ends as it does when nobody is killed."""
    folder = tmp_path_factory.mktemp("killed")
    tracker = open_tracker(tiny_in(folder), {})
    log_a_search(tracker, folder).__exit__(None, None, None)
    for step, count in deaths:
        with dying_behind(step, count), contextlib.suppress(Killed):
            tracker.sender().send()
    tracker.sender().send()
    tracker.sender().send()
    parent, *children = everything(tracker)
    assert [child[1] for child in children] == ["FINISHED", "FAILED", "FINISHED"]
    assert [len(child[6]["accuracy"]) for child in children] == [2, 2, 1]
    assert [len(values) for values in parent[6].values()] == [1]
    assert parent[7] == {"report.csv": len("first\n")}
    assert [child[5] for child in children] == [{"site.x": "ta"}, {"site.x": "ta"}, {"site.x": "ca"}]
    assert tracker.spool.kept == []


@contextlib.contextmanager
def dying_behind(step, count):
    """What does a step raises ``Killed`` once it has done it more than ``count`` times; ``note``: of writing notes."""
    left = [count]
    target, name = (replaying.Note, "write") if step == "note" else (MlflowClient, step)
    real = getattr(target, name)

    def dying(*args, **options):
        result = real(*args, **options)
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, name, dying)
        yield


def test_what_a_killed_writer_left_of_a_line_is_not_sent_and_written_over(tracker):
    child = tracker.child("trial", "trial 0", {})
    child.__enter__().log_metrics({"accuracy": 0.5}, step=1)
    [run] = [run for run in tracker.spool.runs if not run.lasting]
    with run.path.open("ab") as file:
        file.write(b'{"op": "metrics", "time')
    tracker.sender().send()
    tracker.end_all()
    tracker.sender().send()
    [_, dead] = everything(tracker)
    assert (dead[1], len(dead[6]["accuracy"])) == ("KILLED", 1)


def test_a_line_that_two_wrote_at_once_is_left_out(tracker):
    with tracker.child("trial", "trial 0", {}) as run:
        [spooled] = [run for run in tracker.spool.runs if not run.lasting]
        with spooled.path.open("ab") as file:
            file.write(b'{"op": "metrics", {"op": "metrics"}\n')
        run.log_metrics({"accuracy": 0.5}, step=1)
    tracker.sender().send()
    assert [(entry[1], list(entry[6])) for entry in everything(tracker)][1:] == [("FINISHED", ["accuracy"])]


def test_a_line_that_finds_no_room_is_an_error_and_leaves_the_file_whole(tracker, monkeypatch):
    with tracker.child("trial", "trial 0", {}) as run:
        [spooled] = [run for run in tracker.spool.runs if not run.lasting]
        before = spooled.path.read_bytes()
        write = os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda file, content: write(file, content[:10]))
            with pytest.raises(OSError, match="No space left on device"):
                run.log_metrics({"accuracy": 0.5}, step=1)
        assert spooled.path.read_bytes() == before


def test_only_the_run_of_a_name_is_ended(tracker):
    names = ["seed 1: block1 ta", "seed 1: block1 ta · block2 ca"]
    with tracker.child("confirmation", names[0], {}), tracker.child("confirmation", names[1], {}):
        tracker.end_named(names[0])
        tracker.sender().send()
        assert {entry[0]: entry[1] for entry in everything(tracker)[1:]} == {names[0]: "KILLED", names[1]: "RUNNING"}


def test_what_the_driver_ended_stays_so_whatever_its_worker_writes_then(tracker):
    """As behind a network that parts them."""
    with tracker.child("trial", "trial 0", {}) as run:
        tracker.end_all()
        run.log_metrics({"accuracy": 0.5}, step=1)
        [spooled] = [run for run in tracker.spool.runs if not run.lasting]
        remove = type(spooled.path).unlink
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(type(spooled.path), "unlink", lambda path, **options: dying(remove, path, spooled.path))
            tracker.sender().send()
        assert spooled.path.exists(), "its sender died before it was removed"
    tracker.sender().send()
    assert [(entry[1], entry[6]) for entry in everything(tracker)][1:] == [("KILLED", {})]
    assert [run for run in tracker.spool.runs if not run.lasting] == []


def dying(remove, path, doomed):
    if path == doomed:
        raise Killed
    remove(path)


def test_what_is_removed_meanwhile_is_not_kept(tracker, monkeypatch):
    with tracker.child("trial", "trial 0", {}):
        pass
    listed = tracker.spool.runs
    tracker.sender().send()
    monkeypatch.setattr(Spool, "runs", listed)
    assert tracker.spool.kept == []


def test_what_was_kept_does_not_hold_up_the_next_start(tracker, tiny_experiment):
    with tracker.child("trial", "trial 0", {}):
        pass
    kept = [run.name for run in tracker.spool.kept]
    assert len(kept) == 2
    again = open_tracker(tiny_experiment(), {})
    assert [run.name for run in again.spool.kept] == kept


def test_a_group_that_somebody_deleted_is_named_once(tracker, tiny_experiment):
    said = []
    sender = tracker.sender(said.append)
    MlflowClient(tracker.uri).delete_experiment(sender.connect())
    for number in range(3):
        with tracker.child("trial", f"trial {number}", {}):
            pass
    reason = f"tracking.experiment: quietspike: was deleted in {tracker.uri}; restore it there, or give another name"
    for ask in (sender.send, lambda: open_tracker(tiny_experiment(), {})):
        with pytest.raises(TrackingError) as raised:
            ask()
        assert str(raised.value) == reason
    assert said == []
    MlflowClient(tracker.uri).restore_experiment(store_id(tracker))
    sender.send()
    assert [entry[1] for entry in everything(tracker)] == ["RUNNING", "FINISHED", "FINISHED", "FINISHED"]


def store_id(tracker):
    return MlflowClient(tracker.uri).get_experiment_by_name(tracker.group).experiment_id


def test_a_group_that_another_search_makes_at_the_same_moment(tracker, monkeypatch):
    first = tracker.sender().connect()
    find, asked = MlflowClient.get_experiment_by_name, []

    def late(client, name):
        asked.append(name)
        return find(client, name) if len(asked) > 1 else None

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", late)
    assert tracker.sender().connect() == first


def test_a_store_that_is_a_new_one_in_mid_search_keeps_children_and_parent_together(
    tracker, tiny_experiment, store_template
):
    sender = tracker.sender()
    with tracker.child("trial", "trial 0", {}) as run:
        sender.send()
        (tiny_experiment().output / "mlflow.db").write_bytes(store_template.read_bytes())
        run.log_metrics({"accuracy": 0.5}, step=1)
        sender.send()
    tracker.parent.end("FINISHED")
    sender.send()
    parent, child = everything(tracker)
    assert child[3] == parent[0]


def test_a_run_that_somebody_deleted_and_a_store_that_is_a_new_one(tracker, tiny_experiment, store_template):
    with tracker.child("trial", "trial 0", {}) as run:
        tracker.sender().send()
        tracker.parent.end("FINISHED")
        tracker.sender().send()
        (tiny_experiment().output / "mlflow.db").write_bytes(store_template.read_bytes())
        run.log_metrics({"accuracy": 0.5}, step=1)
    again = open_tracker(tiny_experiment(), {})
    again.sender().send()
    assert [entry[0] for entry in everything(again)] == [tiny_experiment().folder.name, "trial 0"]
    assert everything(again)[1][3] == tiny_experiment().folder.name


def test_what_the_store_refuses_is_set_aside_and_named(tracker):
    with tracker.child("trial", "trial 0", {}) as run:
        run.log_metrics({"no such name?": 0.5}, step=1)
    with tracker.child("trial", "trial 1", {}) as run:
        run.log_metrics({"accuracy": 0.5}, step=1)
    said = []
    sender = tracker.sender(said.append)
    sender.send()
    sender.send()
    [line] = said
    assert line.startswith(f"tracking.uri: {tracker.uri}: Invalid value")
    assert str(tracker.folder) in line
    assert [(entry[0], entry[1]) for entry in everything(tracker)][1:] == [
        ("trial 0", "RUNNING"),
        ("trial 1", "FINISHED"),
    ]


def test_two_at_once_send_everything_once(tracker, tmp_path):
    log_a_search(tracker, tmp_path).__exit__(None, None, None)
    threads = [threading.Thread(target=tracker.sender().send, args=(60,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(entry[6].get("accuracy", ())) for entry in everything(tracker)] == [0, 2, 2, 1]


def test_another_store_has_a_spool_of_its_own(tiny_experiment, tmp_path):
    one = find_tracker(tiny_experiment())
    other = find_tracker(tiny_experiment(tracking={"uri": f"sqlite:///{tmp_path}/other.db"}))
    third = find_tracker(tiny_experiment(tracking={"experiment": "another"}))
    assert len({one.folder, other.folder, third.folder}) == 3


@pytest.mark.parametrize(
    ("text", "uri", "kind"),
    [
        ("API request to http://h/x failed with exception HTTPConnectionPool: refused", "http://h", AwayError),
        ("API request to http://h/x failed with timeout exception read", "https://h", AwayError),
        ("API request to endpoint /x failed with error code 503 != 200", "http://h", AwayError),
        ("API request to endpoint /x failed with error code 403 != 200", "http://h", TrackingError),
        ("API request failed with exception HTTPConnectionPool(host='api'): refused", "http://", TrackingError),
        ("(sqlite3.OperationalError) database is locked", "sqlite:///x", AwayError),
        ("(sqlite3.OperationalError) unable to open database file", "sqlite:///x", TrackingError),
    ],
)
def test_away_is_told_from_wrong(text, uri, kind):
    with pytest.raises(TrackingError) as raised, store._explained(uri):
        raise RuntimeError(text)
    assert type(raised.value) is kind


# a real server


class Server:
    """MLflow's server on a database, which can be killed and started again."""

    def __init__(self, folder, template):
        self.folder = folder
        (folder / "mlflow.db").write_bytes(template.read_bytes())
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        places = [
            "--backend-store-uri",
            f"sqlite:///{self.folder}/mlflow.db",
            "--artifacts-destination",
            self.folder / "a",
        ]
        quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [*command, *places], stdout=log, stderr=log, start_new_session=True, env=quiet
            )
        deadline = time.monotonic() + 180
        while not self.answers():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path, store_template):
    server = Server(tmp_path, store_template)
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


def test_without_a_server_nothing_waits_and_one_line_says_where_it_is_kept(tiny_experiment, server, monkeypatch):
    monkeypatch.setattr(sending, "PERIOD", 0.05)
    monkeypatch.setattr(sending, "BACKOFF", (0.05, 0.1))
    experiment = tiny_experiment(tracking={"uri": server.uri})
    said = []
    begin = time.monotonic()
    with track_training(experiment, "mine", {}, {}, said.append) as run:
        assert time.monotonic() - begin < 20
        for epoch in range(1, 4):
            begin = time.monotonic()
            run.log_metrics({"accuracy": epoch / 10}, step=epoch)
            assert time.monotonic() - begin < 1
        while not said:
            time.sleep(0.05)
        time.sleep(0.5)  # some tries more
        assert len(said) == 1
    folder = find_tracker(experiment).folder
    reason = f"tracking.uri: {server.uri}: "
    assert [line.startswith(reason) for line in said] == [True, True]
    assert said[0].endswith(f"; what is to be logged is kept in {folder} and sent later")
    assert said[1].endswith(f"; 1 runs are kept in {folder}, and quietspike report sends them")


@pytest.mark.slow
def test_a_server_that_is_away_at_the_start_and_in_between(new_search, undisturbed, server):
    """It is not there, comes, is killed in mid-search, comes again: it has what SQLite has of an undisturbed search."""
    search = new_search()
    search.block(step=4)
    search.start("--tracking.uri", server.uri)
    search.blocked()  # two trials have ended without a server
    server.start()
    client = MlflowClient(server.uri)

    def statuses():
        group = client.get_experiment_by_name("quietspike")
        found = client.search_runs([group.experiment_id], "tags.`quietspike.kind` = 'trial'") if group else []
        return sorted(run.info.status for run in found)

    deadline = time.monotonic() + 180
    while statuses() != ["FINISHED", "FINISHED", "RUNNING"]:
        assert time.monotonic() < deadline, statuses()
        time.sleep(0.2)
    server.kill()
    search.unblock()
    done = search.end()
    assert (done.returncode, done.stderr) == (0, "")
    said = [line for line in done.stdout.splitlines() if line.startswith("tracking.uri")]
    assert [line.partition("; ")[2].partition(" in ")[0] for line in said if ";" in line] == [
        "what is to be logged is kept",
        "what is to be logged is kept",
        said[-1].partition("; ")[2].partition(" in ")[0],
    ]
    assert said[-1].endswith("and quietspike report sends them")
    assert search.facts == undisturbed.facts
    server.start()
    reported = search.command("report", "--tracking.uri", server.uri)
    assert (reported.returncode, reported.stderr) == (0, "")
    group = client.get_experiment_by_name("quietspike")
    found = list(client.search_runs([group.experiment_id], order_by=["attributes.start_time ASC"]))
    expected = undisturbed.runs()
    assert [run.data.params for run in found] == [run.data.params for run in expected]
    assert [run.info.status for run in found] == ["FINISHED"] * len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        for name in theirs.data.metrics:
            both = [
                c.get_metric_history(r.info.run_id, name) for c, r in ((client, mine), (undisturbed.client, theirs))
            ]
            values = [[(metric.step, metric.value) for metric in history] for history in both]
            assert "seconds" in name or values[0] == values[1], name
    [parent] = [run for run in found if run.data.tags["quietspike.kind"] == "search"]
    names = {entry.path for entry in client.list_artifacts(parent.info.run_id)}
    assert {"front", "weights", "pareto.png", "trials.csv"} <= names
    assert Spool(next((search.folder / "tracking").iterdir())).kept == []
