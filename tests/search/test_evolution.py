"""The sampler ``nsga2`` against Optuna's own class."""

import random

import optuna
import pytest
from optuna.samplers import NSGAIISampler
from optuna.trial import TrialState

from quietspike.search.evolution import GENERATION, Evolution, Generations
from quietspike.search.journal import Journal

POPULATION = 7


class Ordered(NSGAIISampler):
    """Optuna's, whose parents are always in the order of trials, as those are that it has noted."""

    def select_parent(self, study, generation):
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)


def ours():
    known = Generations()
    return lambda seed: Evolution(known, POPULATION, seed)


def theirs():
    return lambda seed: Ordered(population_size=POPULATION, seed=seed)


def parameters(trial):
    x, y = trial.suggest_float("x", -3, 3), trial.suggest_categorical("y", ["a", "b", "c"])
    return x, "abc".index(y), trial.suggest_int("z", 0, 5), trial.suggest_int("only", 2, 2)


def evolve(storage, new, key, samplers, trials=200):
    """Trials, up to four at once, that end in any order, some of them failed, some from the queue, some bounded.

    Args:
        storage: of the study.
        new: gives the samplers of a process.
        key: of a trial's generation.
        samplers: how many processes share the study, each of which is at times begun anew.
        trials: how many.
    """
    draw = random.Random(0)
    study = optuna.create_study(storage=storage, directions=["maximize", "minimize"])
    processes = [new() for _ in range(samplers)]
    running = []
    for number in range(trials):
        if number % 50 == 49:
            processes[draw.randrange(samplers)] = new()
        if draw.random() < 0.05:
            study.enqueue_trial({"x": draw.uniform(-3, 3), "y": "b", "z": 1})
        study.sampler = draw.choice(processes)(number)
        trial = study.ask()
        running.append((trial, parameters(trial)))
        while len(running) > 3 or (running and draw.random() < 0.4):
            trial, (x, y, z, _) = running.pop(draw.randrange(len(running)))
            if draw.random() < 0.1:
                study.tell(trial, state=TrialState.FAIL)
                continue
            if draw.random() < 0.5:
                trial.set_constraint("bound", x - 1)
            study.tell(trial, (z - x**2, (x - 2) ** 2 + y))
    return [(trial.params, trial.values, trial.system_attrs.get(key)) for trial in study.trials]


@pytest.mark.parametrize("samplers", [1, 3])
def test_generations_and_children_are_optunas(tmp_path, monkeypatch, samplers):
    monkeypatch.setattr("os.fsync", lambda fd: None)
    expected = evolve(None, theirs, Ordered._get_generation_key(), samplers)
    assert max(generation or 0 for *_, generation in expected) > 200 // POPULATION / 2
    assert evolve(None, ours, GENERATION, samplers) == expected
    assert evolve(Journal(tmp_path / "study.journal"), ours, GENERATION, samplers) == expected
