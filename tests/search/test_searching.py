"""How a search is begun and ended, without any training."""

import io

import pytest
from mlflow import MlflowClient
from rich.console import Console

from quietspike.core import OptionError, QuietspikeError
from quietspike.search import searching
from quietspike.search.searching import run_search
from quietspike.search.study import SearchStudy
from quietspike.search.tracking import Tracker, open_tracker, tracking_uri


def statuses(experiment):
    client = MlflowClient(tracking_uri(experiment))
    ids = [group.experiment_id for group in client.search_experiments()]
    return [run.info.status for run in client.search_runs(ids)]


def raising(error):
    def call(*_):
        raise error

    return call


@pytest.mark.parametrize("error", [QuietspikeError("process 1 still works here"), KeyboardInterrupt()])
def test_what_comes_while_strangers_are_awaited_leaves_no_run_running(tiny_experiment, monkeypatch, error):
    experiment = tiny_experiment()
    monkeypatch.setattr(SearchStudy, "await_strangers", raising(error))
    with pytest.raises(type(error)):
        run_search(experiment)
    assert statuses(experiment) == []
    tracker = open_tracker(experiment, {})
    tracker.parent.end("FINISHED")
    tracker.sender().send()
    with pytest.raises(type(error)):
        run_search(experiment)
    assert statuses(experiment) == ["FINISHED"]


@pytest.mark.parametrize(("error", "status"), [(OSError("disk full"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
@pytest.mark.parametrize("place", [(SearchStudy, "lose_all"), (Tracker, "end_all"), (searching, "_announce")])
def test_what_comes_at_the_beginning_ends_the_searchs_run(tiny_experiment, monkeypatch, place, error, status):
    experiment = tiny_experiment()
    monkeypatch.setattr(*place, raising(error))
    with pytest.raises(type(error)):
        run_search(experiment)
    assert statuses(experiment) == [status]


@pytest.mark.parametrize("place", [(SearchStudy, "lose_all"), (Tracker, "end_all")])
def test_what_comes_at_the_end_ends_the_searchs_run(tiny_experiment, monkeypatch, place):
    experiment = tiny_experiment()
    ended = []
    monkeypatch.setattr(Tracker, "end_all", lambda tracker: ended.append(tracker))

    def interrupt(*_):
        monkeypatch.setattr(*place, raising(OSError("disk full")))
        ended.clear()
        raise KeyboardInterrupt

    monkeypatch.setattr(searching, "_announce", interrupt)
    with pytest.raises(OSError, match="disk full"):
        run_search(experiment)
    assert statuses(experiment) == ["FAILED"]
    assert len(ended) == (place[0] is SearchStudy), "one step's failure keeps no other from being taken"


def test_a_folder_whose_name_looks_like_markup_is_printed_as_it_is(tiny_experiment, tmp_path, monkeypatch):
    experiment = tiny_experiment(output=str(tmp_path / "runs[/old]"))
    console = Console(file=io.StringIO(), width=300)
    monkeypatch.setattr(searching, "_try_placements", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run_search(experiment, console)
    assert f" in {experiment.folder}\n" in console.file.getvalue()


@pytest.mark.parametrize(("epochs", "min_epochs"), [(10, 10), (1, 1), (3, 20)])
def test_early_stopping_that_would_stop_nothing_is_one_line(tiny_experiment, epochs, min_epochs):
    experiment = tiny_experiment(train={"epochs": epochs}, search={"early_stopping": {"min_epochs": min_epochs}})
    line = f"search.early_stopping.min_epochs={min_epochs}: must be below train.epochs={epochs}"
    with pytest.raises(OptionError) as refused:
        run_search(experiment)
    assert str(refused.value) == line
    assert not experiment.folder.exists()
