import pytest

from quietspike.core import DataError, QuietspikeError
from quietspike.search.config import check_experiment
from quietspike.search.data import open_dataset


def test_trials_of_one_process_share_the_data(tiny_data):
    one, other = check_experiment(tiny_data()), check_experiment(tiny_data(seed=5, train={"epochs": 3}))
    assert open_dataset(one) is open_dataset(other)
    assert open_dataset(check_experiment(tiny_data(dataset={"steps": 3}))) is not open_dataset(one)


def test_it_is_what_the_experiment_says(tiny_data):
    dataset = open_dataset(check_experiment(tiny_data(dataset={"steps": 3, "size": 10})))
    assert (dataset.steps, dataset.input_shape) == (3, (2, 10, 10))
    assert [len(dataset.split(name)) for name in ("train", "validation", "test")] == [60, 20, 20]


def test_data_that_is_not_there_is_looked_for_again(tmp_path):
    experiment = check_experiment({"dataset": {"name": "nmnist", "root": str(tmp_path / "missing")}})
    for _ in range(2):
        with pytest.raises(DataError, match="missing"):
            open_dataset(experiment).split("train")


@pytest.mark.parametrize(
    "dataset", ["digit_dvs", {"name": "digits_dvs", "stepz": 3}, {"name": "digits_dvs", "steps": 0}]
)
def test_what_it_cannot_be_is_refused(dataset):
    with pytest.raises(QuietspikeError) as caught:
        open_dataset(check_experiment({"dataset": dataset}))
    assert "\n" not in str(caught.value)
