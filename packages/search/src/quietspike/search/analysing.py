"""``quietspike analyse``: the papers' figures of trained weights, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from quietspike.core import OptionError
from quietspike.core.contracts import SplitName
from quietspike.search.analysis import Analysis, analyse_network
from quietspike.search.analysis_tables import TABLES, block_table, layer_table
from quietspike.search.figures import FIGURES
from quietspike.search.opening import open_weights
from quietspike.search.plot import house_style, write_figure
from quietspike.search.tables import write_csv


def analyse_weights(
    path: Path,
    overrides: Sequence[str],
    split: SplitName,
    console: Console,
    *,
    folder: Path | None = None,
    layer: str | None = None,
    step: int | None = None,
) -> Analysis:
    """Analyse a weights file on a split of its experiment's data; write figures and tables, print the main numbers.

    Args:
        path: what a training or a search left.
        overrides: keys of the experiment, as in ``--dataset.root``; the data may lie elsewhere now.
        split: which samples.
        console: where to print.
        folder: where the files go; ``analysis`` beside the weights where ``None``.
        layer: as for ``analyse_network``.
        step: as for ``analyse_network``.

    Raises:
        QuietspikeError: if the file is damaged, no weights of quietspike, or does not fit its own record; for a layer
            or step that there is not; if the folder cannot be written.
    """
    weights = open_weights(path, overrides)
    folder = path.parent / "analysis" if folder is None else folder
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)  # before the analysis, which takes long
    except OSError as error:
        raise OptionError(f"--output: {folder}: cannot be written: {error.strerror}") from None
    try:
        analysis = analyse_network(weights, split, layer=layer, step=step)
    except BaseException:
        if made:
            with suppress(OSError):
                folder.rmdir()
        raise
    for name, table in TABLES.items():
        write_csv(folder / f"{name}.csv", table.rows(analysis), table.columns)
    drawn = []
    for name, draw in FIGURES.items():
        with house_style():
            figure = draw(analysis)
            if figure is not None:
                write_figure(figure, folder / f"{name}.png")
                drawn.append(f"{name}.png")
    console.print(layer_table(analysis), markup=False)
    if analysis.isometry:
        console.print(block_table(analysis), markup=False)
    tables = ", ".join(f"{name}.csv" for name in TABLES)
    for line in (*analysis.notes, f"Figures: {', '.join(drawn)}", f"Numbers: {tables}", f"In {folder}"):
        console.print(line, highlight=False, markup=False)
    return analysis
