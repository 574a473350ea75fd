"""``quietspike sites``: where attention may stand, what may stand there, and what else is searched."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from quietspike.search.config import Experiment
from quietspike.search.setting import spell
from quietspike.search.space import open_space


def show_sites(experiment: Experiment, console: Console) -> None:
    """Print the space.

    Raises:
        QuietspikeError: for a mistake in it.
    """
    space = open_space(experiment)
    table = Table(title=space.count)
    for column in ("site", "signal", "T", "channels", "space", "candidates"):
        table.add_column(column)
    sites = {site.name: site for site in space.sites}
    for site in (site for case in space.cases for site in case.searched):
        sites.setdefault(site.name, site)  # which the experiment's own backbone lacks
    for site in sites.values():
        candidates = ", ".join(choice.label for choice in space.choices.get(site.name, ())) or "not searched"
        figures = (site.signal, str(site.steps), str(site.channels), "yes" if site.spatial else "no")
        table.add_row(site.name, *figures, candidates)
    console.print(table)
    for key, setting in experiment.search.settings.items():
        console.print(f"{key}: {spell(setting.model_dump())}", highlight=False, markup=False)
