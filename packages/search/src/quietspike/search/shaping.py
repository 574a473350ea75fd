"""Which of an experiment's keys shape its trials or their order: the others may change when a search goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PLUGINS = ("dataset", "backbone", "neuron")
"""The keys of an experiment that are plugins, with options of their own."""

SEARCHED = ("threads", "sampler", "population", "uniform_first", "sites", "candidates")
"""Keys of ``search`` that always shape."""

NEWER = ("constraints", "settings", "early_stopping")
"""Keys of ``search`` that shape where they are given: they came later, and a search without them keeps its folder."""


def shape_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The shaping keys of an experiment's plain data."""
    shaping = {key: data[key] for key in ("seed", *PLUGINS, "train")}
    shaping["dataset"] = _without_spelling(shaping["dataset"])
    search = data["search"]
    shaping["search"] = {key: search[key] for key in SEARCHED} | {key: search[key] for key in NEWER if search[key]}
    objectives = search["objectives"]
    shaping["search"] |= {"objective": objectives[1]} if len(objectives) == 2 else {"objectives": objectives}
    if search["strategy"] != "trials":
        shaping["search"] |= {"strategy": search["strategy"], "supernet": search["supernet"]}
    if search["engine"] == "tabular" and search["table"] is not None:
        shaping["search"]["table"] = str(Path(search["table"]).resolve())
    return shaping


def _without_spelling(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """A data set's options as they shape results: ``root`` however it was written, and no ``download``."""
    options = {key: value for key, value in dataset.items() if key != "download"}
    if isinstance(options.get("root"), str):
        options["root"] = str(Path(options["root"]).expanduser().resolve())
    return options
