"""What the figures of a search say, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from quietspike.search.comparison import Difference, clearly_dominates, paired_difference
from quietspike.search.goals import LESS, Goals
from quietspike.search.pareto import dominates, least_violating
from quietspike.search.progress import amount, epochs, short_number
from quietspike.search.results import Confirmation, SearchResult, paired


def conclusions(result: SearchResult) -> list[str]:
    """What the confirmed figures say, in sentences."""
    goals = result.goals
    decades = "decades" if len(goals.costs) == 1 else " × ".join(f"decades of {in_words(cost)}" for cost in goals.costs)
    sentences = [f"Hypervolume of the front (validation): {result.hypervolume:.4f} accuracy × {decades}"]
    sentences += feasibility(result)
    if result.front and result.hypervolume == 0:
        sentences.append("No trial betters search.hypervolume_reference")
    failed = [trial.outcome.reason for trial in result.trials if trial.outcome.reason is not None]
    failed_later = [reason for c in result.confirmations for reason in c.failures.values()]
    for kind, reasons in (("trials", failed), ("confirmations", failed_later)):
        if reasons:
            sentences.append(f"{len(reasons)} {kind} failed, the first with {reasons[0]}")
    sentences += _stopped_early(result)
    best = result.best
    if not result.trials:
        sentences.append("No trial has ended yet")
    measured = [c for c in result.confirmations if c.outcomes]
    if best is not None:
        sentences.append(f"Best {_what([best])}, of {len(measured)} and by the same test split: {best.name}")
        others = [c for c in measured if c is not best and _kind(c) in ("none", "tcsa")]
        sentences.extend(f"  against {c.name}: {_versus(best, c, goals)}" for c in others)
    elif goals.constraints and any(c.uniform == "none" for c in measured):
        met = any(goals.feasible(c.mean) for c in measured)
        why = "all that meet search.constraints are less accurate than none"
        why = why if met else "none that was confirmed meets search.constraints"
        sentences.append(f"No placement is called the best: {why}")
    elif measured:
        sentences.append("No placement is called the best: none, against which it is judged, was not confirmed")
    return [*sentences, _mixed_against_uniform(measured, goals)] if measured else sentences


def _stopped_early(result: SearchResult) -> list[str]:
    if not result.stopped:
        return []
    share = f"{epochs(result.epochs_trained)} trained, of {result.epochs_in_full:,} without"
    return [f"{result.stopped} of {len(result.trials)} trials were stopped early: {share}"]


def feasibility(result: SearchResult) -> list[str]:
    """How many trials meet the constraints and, where none does, what is nearest to it."""
    goals = result.goals
    done = [trial for trial in result.trials if trial.outcome.complete]
    if not goals.constraints or not done:
        return []
    met = sum(goals.feasible(trial.outcome.value) for trial in done)
    bounds = " and ".join(bound.text for bound in goals.constraints)
    nearest = least_violating(done, goals)
    if met or nearest is None:
        return [f"{met} of {len(done)} trials meet {bounds}"]
    beyond = [
        f"{in_words(bound.figure)} {short_number(nearest.outcome.value(bound.figure))}"
        for bound in goals.constraints
        if bound.violation(nearest.outcome.value(bound.figure)) > 0
    ]
    return [
        f"No trial meets {bounds}: there is no front, and no searched placement is confirmed",
        f"  nearest is trial {nearest.number}, with {', '.join(beyond)}: {nearest.design.label}",
    ]


def _kind(confirmation: Confirmation) -> str:
    """The attention that it has everywhere, without options; empty for a mixed placement."""
    return (confirmation.uniform or "").partition("(")[0]


def _mixed_against_uniform(measured: Sequence[Confirmation], goals: Goals) -> str:
    uniform = [c for c in measured if c.uniform is not None]
    mixed = [c for c in measured if c.uniform is None and goals.feasible(c.mean)]
    if not mixed or not uniform:
        return f"No {_what(mixed, 'mixed ')} was confirmed beside a uniform one"

    def undefeated_by(ours: Confirmation) -> list[str]:
        return [theirs.name for theirs in uniform if not dominates(ours, theirs, goals)]

    def clearly_beaten_by(ours: Confirmation) -> int:
        return sum(clearly_dominates(ours, theirs, goals) for theirs in uniform)

    best = min(mixed, key=lambda ours: (len(undefeated_by(ours)), -clearly_beaten_by(ours)))
    undefeated, clear = undefeated_by(best), clearly_beaten_by(best)
    clearly = f" ({clear} beyond the 95 % intervals)" if len(best.outcomes) > 1 else ""
    if not undefeated:
        return f"A {_what(mixed, 'mixed ')} dominates every uniform one{clearly}: {best.name}"
    beaten = f"{len(uniform) - len(undefeated)} of {len(uniform)}{clearly}"
    return (
        f"No {_what(mixed, 'mixed ')} dominates every uniform one; {best.name} dominates {beaten}, "
        f"but not {', '.join(undefeated)}"
    )


def _what(confirmations: Sequence[Confirmation], mixed: str = "") -> str:
    """What to call them: designs, where one has settings."""
    return "design" if any(c.design.settings for c in confirmations) else f"{mixed}placement"


def _versus(ours: Confirmation, theirs: Confirmation, goals: Goals) -> str:
    ours, theirs = paired(ours, theirs)
    if not ours.outcomes:
        return "no seed was measured of both"
    gain = paired_difference(ours, theirs, "accuracy")
    points = in_points(gain) if gain else f"{100 * (ours.mean('accuracy') - theirs.mean('accuracy')):+.1f}"
    savings = [_saving(ours.mean(cost), theirs.mean(cost), cost) for cost in goals.costs]
    return f"{', '.join(savings)}, accuracy {points} points"


def _saving(ours: float, theirs: float, objective: str) -> str:
    if theirs == 0:
        return f"{amount(ours, objective)} against 0"
    if ours > 2 * theirs:
        return f"{ours / theirs:.1f} times the {in_words(objective)}"
    less = LESS.get(objective, "fewer")
    return f"{abs(1 - ours / theirs):.1%} {less if ours <= theirs else 'more'} {in_words(objective)}"


def in_words(cost: str) -> str:
    """A cost's name for people."""
    return cost.replace("_", " ")


def in_points(difference: Difference) -> str:
    """A difference of accuracies, in percent points with its interval."""
    mean, low, high = (100 * value for value in (difference.mean, difference.low, difference.high))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
