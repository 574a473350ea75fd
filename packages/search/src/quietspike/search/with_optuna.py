"""The embedded engine: processes on this machine that share the study's journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from quietspike.search.confirmation import Task
from quietspike.search.job import Job
from quietspike.search.processes import Watch, run_crew
from quietspike.search.results import Outcome
from quietspike.search.study import DEATHS


class OptunaEngine:
    """Workers claim placements from the journal until the budget is used up; a dead one is replaced."""

    def search(self, job: Job, watch: Watch) -> None:
        """Run trials until the study has as many as asked for."""
        study = job.open_study()

        def recover() -> int:
            job.tracker.end_dead()
            return study.lose_dead()

        workers = min(job.workers, study.total - len(study.results()))
        run_crew(_run_trials, (job,), workers=workers, threads=job.threads, watch=watch, lost=recover)

    def confirm(self, job: Job, tasks: Sequence[Task], watch: Watch) -> None:
        """Run all tasks that have no outcome yet."""
        deaths: Counter[Task] = Counter()

        def recover() -> int:
            job.tracker.end_dead()
            lost = [task for task in tasks if task.abandoned(job)]
            deaths.update(lost)
            for task in lost:
                if deaths[task] >= DEATHS:
                    task.record(job, Outcome.failed(f"its worker died {deaths[task]} times"))
            return len(lost)

        args = (job, list(tasks))
        workers = min(job.workers, len(tasks))
        run_crew(_run_tasks, args, workers=workers, threads=job.threads, watch=watch, lost=recover)


def _run_trials(job: Job, worker: int) -> None:
    study = job.open_study()
    while (claim := study.claim()) is not None:
        job.run_trial(study, claim, worker)


def _run_tasks(job: Job, tasks: Sequence[Task], worker: int) -> None:
    for task in tasks:
        task.run(job, worker)
