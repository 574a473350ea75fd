"""What a search keeps of its trials."""

import tempfile
from types import SimpleNamespace

import hypothesis.strategies as st
from hypothesis import given

from quietspike.core import Placement
from quietspike.search.config import check_experiment
from quietspike.search.design import Design
from quietspike.search.job import Job
from quietspike.search.pareto import find_front, least_violating
from quietspike.search.results import Outcome, TrialResult
from quietspike.search.untracked import Untracked

from .conftest import TINY

outcomes = st.one_of(
    st.builds(
        lambda accuracy, spikes: Outcome(accuracy / 10, {"spikes": 100.0 * spikes}),
        st.integers(0, 10),
        st.integers(1, 12),
    ),
    st.just(Outcome(1.0, {"spikes": 1.0}, stopped=1)),
    st.just(Outcome.failed("NaN")),
)


@given(given=st.lists(outcomes, min_size=1, max_size=20), bounded=st.booleans())
def test_the_folders_of_the_front_stay_and_those_of_failures(given, bounded):
    constraints = ["spikes <= 300", "accuracy >= 0.5"] if bounded else []
    with tempfile.TemporaryDirectory() as folder:
        experiment = check_experiment({**TINY, "output": folder, "search": {"constraints": constraints}})
        job = Job(experiment, None, Untracked())
        trials = [
            TrialResult(number, Design(Placement(), {"neuron.decay": number}), outcome)
            for number, outcome in enumerate(given)
        ]
        for count, trial in enumerate(trials, 1):
            job.trial_folder(trial.design).mkdir(parents=True)
            job.tidy(SimpleNamespace(results=lambda count=count: trials[:count]))
        goals = experiment.search.goals
        nearest = least_violating(trials, goals)
        best = find_front(trials, goals) or [trial for trial in [nearest] if trial is not None]
        failed = [trial for trial in trials if trial.outcome.reason is not None]
        kept = {path.name for path in (experiment.folder / "trials").glob("*")}
        assert kept == {trial.design.digest for trial in [*best, *failed]}
