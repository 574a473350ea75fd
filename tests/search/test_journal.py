"""The file of a study against Optuna's own reading of it, and where it cannot be written."""

import errno

import hypothesis.strategies as st
import optuna
import pytest
from hypothesis import given, settings
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from quietspike.search.journal import Journal


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda fd: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("journals")


def open_study(path):
    return optuna.create_study(storage=Journal(path), study_name="search", load_if_exists=True)


ACTS = st.lists(st.tuples(st.sampled_from(["ask", "enqueue", "tell", "fail", "note"]), st.integers(0, 20)), max_size=20)


@settings(max_examples=25, deadline=None)
@given(acts=ACTS, wanted=st.sets(st.sampled_from(TrialState)))
def test_trials_are_what_optuna_reads(folder, acts, wanted):
    path = folder / "study.journal"
    path.unlink(missing_ok=True)
    studies = [open_study(path), open_study(path)]  # as two processes
    theirs = JournalStorage(JournalFileBackend(str(path)))
    for number, (act, which) in enumerate(acts):
        study = studies[number % 2]
        running = [trial for trial in theirs.get_all_trials(0) if trial.state == TrialState.RUNNING]
        with study._storage.together():
            if act == "ask":
                study.ask().suggest_float("x", 0, 1)
            elif act == "enqueue":
                study.enqueue_trial({"x": 0.5})
            elif running:
                trial = running[which % len(running)]
                if act == "note":
                    study._storage.set_trial_user_attr(trial._trial_id, "note", (1, "ü"))
                else:
                    state = TrialState.FAIL if act == "fail" else None
                    study.tell(trial.number, None if state else 1.0, state=state)
        for states in (None, wanted):
            expected = theirs.get_all_trials(0, states=states)
            for study in studies:
                assert study._storage.get_all_trials(0, deepcopy=False, states=states) == expected
                assert study._storage.get_all_trials(0, states=states) == expected


def test_a_look_at_all_trials_reads_the_file_once(tmp_path, monkeypatch):
    study = open_study(tmp_path / "study.journal")
    study.ask()  # and it runs on
    for _ in range(5):
        study.tell(study.ask(), 1.0)
    reads, read = [], JournalFileBackend.read_logs
    monkeypatch.setattr(JournalFileBackend, "read_logs", lambda *given: reads.append(given) or read(*given))
    assert len(study.get_trials(deepcopy=False)) == 6
    assert len(reads) == 1


def test_what_is_written_together_may_be_part_of_more(tmp_path):
    study = open_study(tmp_path / "study.journal")
    trial = study.ask()
    with study._storage.together():
        trial.set_user_attr("first", 1)
        with study._storage.together():
            trial.set_user_attr("second", 2)
        assert open_study_elsewhere(tmp_path).trials[0].user_attrs == {}
    assert open_study_elsewhere(tmp_path).trials[0].user_attrs == {"first": 1, "second": 2}


def open_study_elsewhere(folder):
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))  # which takes no lock of ours to read
    return optuna.load_study(storage=storage, study_name="search")


@pytest.mark.parametrize("lines", range(4))
def test_what_a_full_disk_refused_is_not_believed(tmp_path, monkeypatch, lines):
    study = open_study(tmp_path / "study.journal")
    study.tell(study.ask(), 1.0)
    trial = study.ask()

    def write_some(backend, logs):
        if lines:
            append(backend, logs[:lines])
        with open(backend._file_path, "ab") as file:
            file.write(b'{"op_code":')
        raise OSError(errno.ENOSPC, "No space left on device")

    append = JournalFileBackend.append_logs

    def finish():
        with study._storage.together():
            trial.set_user_attr("first", 1)
            trial.set_user_attr("second", 2)
            study.tell(trial, 2.0)

    with monkeypatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", write_some)
        with pytest.raises(OSError, match="No space left"):
            finish()
    assert study.trials == open_study_elsewhere(tmp_path).trials
    assert study.trials[1].user_attrs == dict([("first", 1), ("second", 2)][:lines])
    assert study.trials[1].state == (TrialState.COMPLETE if lines == 3 else TrialState.RUNNING)
    assert study.ask().number == 2
    assert study.trials == open_study_elsewhere(tmp_path).trials
