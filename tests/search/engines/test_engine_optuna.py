"""A finished search with the engine ``optuna``: its files, its weights, and going on where nothing is left to do."""

import io

import pytest
from rich.console import Console

from quietspike.core import QuietspikeError
from quietspike.search import run_search
from quietspike.search.cli import main
from quietspike.search.processes import run_crew
from quietspike.search.searching import read_search
from quietspike.search.single import evaluate_weights


def test_weights_of_the_front_and_of_nothing_else_are_kept(undisturbed):
    result = read_search(undisturbed.experiment)
    kept = {path.parent.name for path in undisturbed.folder.glob("trials/*/weights.safetensors")}
    assert kept == {trial.placement.digest for trial in result.front}
    assert {path.name for path in undisturbed.folder.glob("trials/*")} == kept
    assert not list(undisturbed.folder.rglob("checkpoint.safetensors"))
    assert not list(undisturbed.folder.rglob(".*.safetensors*")), "no temporary file is left"


def test_evaluating_kept_weights_gives_what_the_trial_recorded(undisturbed, capsys):
    result = read_search(undisturbed.experiment)
    for trial in result.front:
        weights = undisturbed.folder / "trials" / trial.placement.digest / "weights.safetensors"
        shown = evaluate_weights(weights, ["--device", "cpu"], "validation", Console(file=io.StringIO()))
        assert shown.accuracy == trial.outcome.accuracy
        assert shown.cost.totals == trial.outcome.totals
    assert main(["evaluate", str(weights), "--split", "validation"]) == 0
    assert f"accuracy {trial.outcome.accuracy:.4f}" in capsys.readouterr().out


def test_a_finished_search_is_told_again_without_training(undisturbed, console):
    before = len(undisturbed.runs())
    result = run_search(undisturbed.experiment, console)
    assert [(t.placement, t.outcome.accuracy, dict(t.outcome.totals)) for t in result.trials] == undisturbed.facts
    assert len(undisturbed.runs()) == before
    assert "Going on: 8 of 8 trials are done, interrupted: 0" in console.file.getvalue()


@pytest.mark.slow
def test_a_longer_search_goes_on_in_the_same_folder(new_search, undisturbed):
    search = new_search(search={"trials": 5})
    for trials in (5, 8):
        assert search.run("--search.trials", str(trials)).returncode == 0
        assert len(search.facts) == trials
    assert search.facts == undisturbed.facts
    [parent] = search.runs("search")
    assert parent.data.tags["search.trials"] == "8"
    assert len(search.runs("trial")) == 8


def test_an_output_folder_that_cannot_be_written(tiny_data, tmp_path, capsys):
    import yaml

    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(tiny_data(output=str(tmp_path / "taken"))), encoding="utf-8")
    assert main(["search", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"quietspike: output: {tmp_path / 'taken'}/tiny-")
    assert error.endswith(": cannot be written: Not a directory\n")


def test_workers_that_cannot_begin_are_given_up(plugin, capfd):
    import quietspike_faults

    lost = []
    with pytest.raises(QuietspikeError, match=r"workers die before they begin \(exit code 3\)"):
        run_crew(quietspike_faults.die, (), workers=1, threads=1, watch=lambda: None, lost=lambda: lost.append(1) or 0)
    assert len(lost) == 3
