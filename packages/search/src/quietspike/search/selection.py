"""What is tried of a space, by the shared weights of a supernet: train it, score, and put the foremost in a queue."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.samplers import NSGAIISampler
from optuna.study import StudyDirection
from optuna.trial import TrialState
from rich.console import Console

from quietspike.core import Placement, QuietspikeError
from quietspike.core.seeds import derive_seed
from quietspike.search.config import Experiment
from quietspike.search.design import Design
from quietspike.search.goals import Goals
from quietspike.search.job import Job
from quietspike.search.pareto import foremost
from quietspike.search.progress import ProgressShow
from quietspike.search.queue import read_queue, write_queue
from quietspike.search.results import Outcome, TrialResult
from quietspike.search.scoring import ScoringCrew
from quietspike.search.space import Space
from quietspike.search.supernet import SupernetTraining, epochs_done, train_supernet

WAVE = 256
"""Placements of a space that is scored whole, until what was found is written down again."""

STALE = 10
"""NSGA-II has converged when so many generations in a row bring no new placement."""

Score = Callable[[Sequence[Placement]], list[Outcome]]
"""Gives the outcome of each placement."""


def choose_placements(job: Job, console: Console) -> None:
    """Write down what a search with ``strategy: supernet`` tries, unless that has been done.

    Each of its parts goes on where a driver that was killed had left it, to the same list.

    Raises:
        QuietspikeError: if the supernet cannot be trained, or no placement could be scored.
    """
    if read_queue(job.folder) is not None:
        return
    training = SupernetTraining.of(job)
    done = epochs_done(training.folder)
    with ProgressShow(console, "supernet", training.recipe.epochs, done) as progress:

        def look() -> None:
            nonlocal done
            now = epochs_done(training.folder)
            progress.show([f"epoch {epoch}" for epoch in range(done + 1, now + 1)])
            done = now

        train_supernet(job, look)
        look()
    total = int(min(job.experiment.search.supernet.scored, job.space.size))
    with ProgressShow(console, "score", total, 0) as progress, ScoringCrew(job, progress.reach) as crew:
        find_placements(job.experiment, job.space, crew.score)
        queue = rank(crew.scores, job.experiment.search.goals)
    if not queue:
        reason = next(outcome.reason for outcome in crew.scores.values())
        raise QuietspikeError(f"no placement could be scored, the first for {reason}")
    for name in ("weights.safetensors", "scores.csv", "epochs.csv"):
        job.tracker.parent.log_artifact(training.folder / name, "supernet")
    write_queue(job.folder, map(Design, queue))


def find_placements(experiment: Experiment, space: Space, score: Score) -> None:
    """Have as many placements scored as the experiment says: the whole space, or what NSGA-II comes to in it.

    NSGA-II starts from the uniform placements where the search does. A generation is suggested as a whole before any of
    it is scored, so how fast the scores come changes nothing.

    Source:
        Guo et al. 2020, Single Path One-Shot Neural Architecture Search, Algorithm 1 (evolution on shared weights).
        Differs: several objectives, by NSGA-II (Deb et al. 2002) as Optuna has it, with its constraints.
    """
    options = experiment.search.supernet
    if space.size <= options.scored:
        whole = (
            Placement(dict(zip(space.choices, chosen, strict=True)))
            for chosen in itertools.product(*space.choices.values())
        )
        for wave in iter(lambda: list(itertools.islice(whole, WAVE)), []):
            score(wave)
        return
    seed = derive_seed(experiment.seed, "supernet") % 2**32
    sampler = NSGAIISampler(population_size=options.population, seed=seed)
    goals = experiment.search.goals
    directions = [StudyDirection.MAXIMIZE, *(StudyDirection.MINIMIZE for _ in goals.costs)]
    study = optuna.create_study(directions=directions, sampler=sampler)
    for placement in space.uniform.values() if experiment.search.uniform_first else ():
        study.enqueue_trial(space.labels(Design(placement)))
    met: set[Placement] = set()
    stale = 0
    while len(met) < options.scored and stale < STALE:
        trials = [study.ask(space.distributions) for _ in range(options.population)]
        placements = [space.design(trial.params).placement for trial in trials]
        new = list(dict.fromkeys(placement for placement in placements if placement not in met))
        stale = 0 if new else stale + 1
        met.update(new[: options.scored - len(met)])
        scored = [placement for placement in placements if placement in met]
        found = dict(zip(scored, score(scored), strict=True))
        for trial, placement in zip(trials, placements, strict=True):
            outcome = found.get(placement)
            if outcome is None or outcome.reason is not None:
                study.tell(trial, state=TrialState.FAIL)
            else:
                for constraint, violation in goals.violations(outcome.value).items():
                    trial.set_constraint(constraint, violation)
                study.tell(trial, list(goals.point(outcome.value)))


def rank(scores: Mapping[Placement, Outcome], goals: Goals) -> list[Placement]:
    """Placements by what their front tells: the first front before the second, and in each the most telling first.

    That is against the worst of each objective among them, so that the order depends on nothing but the scores. Those
    that violate constraints come behind all others, the least violating first.
    """
    ordered = sorted(scores.items(), key=lambda pair: pair[0].json)  # they came in whatever order they were scored
    good = [TrialResult(n, Design(p), o) for n, (p, o) in enumerate(ordered) if o.reason is None]
    if not good:
        return []
    accuracies, *costs = zip(*(goals.point(trial.outcome.value) for trial in good), strict=True)
    against = dataclasses.replace(goals, reference=(min(accuracies), *map(max, costs)))
    ranked = foremost(good, against, len(good))
    left = [trial for trial in good if not goals.feasible(trial.outcome.value)]
    ranked += sorted(left, key=lambda trial: (goals.violation(trial.outcome.value), trial.number))
    return [trial.placement for trial in ranked]
