import csv
import io
import math

import pytest
import yaml
from rich.console import Console

from quietspike.core import Placement
from quietspike.search.report import conclusions, print_report, write_report

MIXED = {"block1.current": "ta", "block3.current": {"name": "ca", "channel_reduction": 4}}
MIXED_LABEL = "block1 ta · block3 ca(channel_reduction=4)"


@pytest.fixture
def trials(trial):
    return [
        trial(0, 0.9, 3000, placement={}),
        trial(1, 0.5, 100, placement={"block1.current": "tcsa"}),
        trial(2, reason="DivergedError: the loss is nan"),
        trial(3, 0.85, 900, placement=MIXED),
    ]


def sentence(result, beginning):
    [found] = [s for s in conclusions(result) if s.strip().startswith(beginning)]
    return found.strip()


# what it concludes


def test_the_best_placement_against_none_and_tcsa(result, trials, confirmation):
    none = confirmation("none", [0.80, 0.90], [3000, 5000])
    tcsa = confirmation("tcsa", [0.70, 0.74], [500, 300])
    mixed = confirmation(None, [0.86, 0.88], [900, 1100], placement=MIXED)
    found = result(trials, [tcsa, mixed, none])
    assert sentence(found, "Best placement") == f"Best placement, of 3 and by the same test split: {MIXED_LABEL}"
    # differences +6 and -2: mean 2, deviation 5.657, margin t(0.975, 1) = 12.706 times 5.657 / sqrt(2) = 50.82
    assert sentence(found, "against none") == "against none: 75.0% fewer spikes, accuracy +2.0 [-48.8, +52.8] points"
    # differences +16 and +14: mean 15, deviation 1.414, margin 12.706
    assert sentence(found, "against tcsa") == (
        "against tcsa everywhere: 2.5 times the spikes, accuracy +15.0 [+2.3, +27.7] points"
    )


def test_one_seed_has_no_interval(result, trials, confirmation):
    found = result(trials, [confirmation("ta", [0.9], [2000]), confirmation("none", [0.8], [3000])])
    assert sentence(found, "against none") == "against none: 33.3% fewer spikes, accuracy +10.0 points"


def test_energy_is_less_and_synaptic_operations_are_fewer(result, trials, confirmation):
    confirmed = [confirmation("ta", [0.9], [2000]), confirmation("none", [0.8], [4000])]
    assert "50.0% less energy, " in sentence(result(trials, confirmed, objective="energy"), "against none")
    found = result(trials, confirmed, objective="synaptic_operations")
    assert "50.0% fewer synaptic operations, " in sentence(found, "against none")


def test_against_a_network_that_never_spikes_there_is_no_share(result, trials, confirmation):
    found = result(trials, [confirmation("tcsa", [0.1], [0]), confirmation("none", [0.8], [4000])])
    assert sentence(found, "against tcsa") == ("against tcsa everywhere: 4,000 spikes against 0, accuracy +70.0 points")


def test_no_attention_may_be_the_best(result, trials, confirmation):
    found = result(trials, [confirmation("tcsa", [0.1], [100]), confirmation("none", [0.8], [4000])])
    assert sentence(found, "Best placement") == "Best placement, of 2 and by the same test split: none"
    assert not any("against none" in s for s in conclusions(found))


def test_a_mixed_placement_that_dominates_all(result, trials, confirmation):
    uniform = [confirmation("none", [0.8], [4000]), confirmation("ta", [0.86], [1000])]
    loser = confirmation(None, [0.7], [900], placement={"block1.current": "sa"})
    found = result(trials, [confirmation(None, [0.86], [999], placement=MIXED), loser, *uniform])
    assert conclusions(found)[-1] == f"A mixed placement dominates every uniform one: {MIXED_LABEL}"


def test_a_mixed_placement_that_does_not(result, trials, confirmation):
    uniform = [
        confirmation("tcsa", [0.7], [100]),
        confirmation("ta", [0.9], [1000]),
        confirmation("none", [0.8], [4000]),
    ]
    found = result(trials, [confirmation(None, [0.85], [999], placement=MIXED), *uniform])
    assert conclusions(found)[-1] == (
        f"No mixed placement dominates every uniform one; {MIXED_LABEL} dominates 1 of 3, "
        "but not tcsa everywhere, ta everywhere"
    )


def test_which_domination_is_beyond_the_intervals(result, trials, confirmation):
    # accuracy differs by +4, +5, +6 points: 5 with a margin of t(0.975, 2) = 4.303 times 1 / sqrt(3) = 2.48; spikes by
    # -100, -200, -300: -200 with a margin of 248 against ta, by -1000, -1100, -1200 against none
    mixed = confirmation(None, [0.84, 0.85, 0.86], [900, 800, 700], placement=MIXED)
    uniform = [confirmation("ta", [0.8] * 3, [1000] * 3), confirmation("none", [0.8] * 3, [1900] * 3)]
    assert conclusions(result(trials, [mixed, *uniform]))[-1] == (
        f"A mixed placement dominates every uniform one (1 beyond the 95 % intervals): {MIXED_LABEL}"
    )
    uniform.append(confirmation("tcsa", [0.6] * 3, [100] * 3))
    assert conclusions(result(trials, [mixed, *uniform]))[-1] == (
        f"No mixed placement dominates every uniform one; {MIXED_LABEL} dominates 2 of 3 "
        "(1 beyond the 95 % intervals), but not tcsa everywhere"
    )
    # as many dominations, none of them beyond the intervals: -100 with a margin of 248, and accuracy as low as theirs
    vaguer = confirmation(None, [0.8, 0.8, 0.8], [900, 800, 1000], placement=Placement({"block1.current": "ca"}))
    shown = conclusions(result(trials, [vaguer, mixed, *uniform]))[-1]
    assert shown == conclusions(result(trials, [mixed, *uniform]))[-1]


def test_without_mixed_or_uniform_there_is_nothing_to_compare(result, trials, confirmation):
    text = "No mixed placement was confirmed beside a uniform one"
    assert conclusions(result(trials, [confirmation("none", [0.8], [4000])]))[-1] == text
    assert conclusions(result(trials, [confirmation(None, [0.8], [4000])]))[-1] == text


def test_failures_are_counted_with_their_first_reason(result, trials, confirmation):
    failing = confirmation("ta", [0.9], [2000], failures={2: "MemoryError: no room", 3: "other"})
    found = result(trials, [failing, confirmation("none", [0.8], [3000])])
    assert sentence(found, "1 trials") == "1 trials failed, the first with DivergedError: the loss is nan"
    assert sentence(found, "2 confirmations") == "2 confirmations failed, the first with MemoryError: no room"
    assert not any("confirmations failed" in s for s in conclusions(result(trials)))


def test_the_hypervolume_is_said(result, trials):
    found = result(trials, reference=(0.0, 1e4))
    by_hand = 0.5 * 2 + 0.35 * math.log10(1e4 / 900) + 0.05 * math.log10(1e4 / 3000)
    assert sentence(found, "Hypervolume") == (
        f"Hypervolume of the front (validation): {by_hand:.4f} accuracy × decades"
    )


def test_before_the_first_trial_has_ended(result):
    assert conclusions(result([]))[-1] == "No trial has ended yet"


# what it writes


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_the_table_of_trials_agrees_with_the_result(result, trials):
    found = result(trials)
    write_report(found)
    rows = rows_of(found.folder / "trials.csv")
    assert [int(row["trial"]) for row in rows] == [0, 1, 2, 3]
    assert [row["on_front"] for row in rows] == ["True", "True", "False", "True"]
    for row, of in zip(rows, trials, strict=True):
        assert Placement.from_json(row["placement"]) == of.placement
        assert row["reason"] == (of.outcome.reason or "")
        if of.outcome.reason is None:
            assert float(row["accuracy"]) == of.outcome.accuracy
            assert {name: float(row[name]) for name in of.outcome.totals} == of.outcome.totals
        else:
            assert row["accuracy"] == row["spikes"] == ""


def test_stopped_trials_are_counted_with_the_epochs_that_were_trained(result, trial, console):
    trials = [trial(0, 0.9, 3000), trial(1, 0.95, 10, stopped=1), trial(2, 0.5, 900, stopped=3), trial(3, reason="NaN")]
    found = result(trials, epochs=10)
    assert sentence(found, "2 of 4") == "2 of 4 trials were stopped early: 14 epochs trained, of 30 without"
    assert [t.number for t in found.front] == [0]
    write_report(found)
    with (found.folder / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["stopped"], row["on_front"]) for row in rows] == [
        ("", "True"),
        ("1", "False"),
        ("3", "False"),
        ("", "False"),
    ]
    assert not any("stopped early" in s for s in conclusions(result(trials[:1])))


def test_a_search_all_of_whose_trials_were_stopped_or_failed(result, trial, console):
    found = result([trial(0, reason="NaN"), trial(1, 0.5, 900, stopped=3)], epochs=9)
    write_report(found)
    print_report(found, console)
    assert "1 of 2 trials were stopped early: 3 epochs trained, of 9 without" in console.file.getvalue()


def test_the_columns_do_not_depend_on_which_trial_failed(result, trial):
    good, bad = trial(0, 0.9, 100), trial(1, reason="x")
    headers = []
    for trials in ([good, bad], [bad, good]):
        found = result(trials)
        write_report(found)
        headers.append((found.folder / "trials.csv").read_text().splitlines()[0])
    assert headers[0] == headers[1]


def test_the_table_of_confirmations_agrees_with_the_result(result, trials, confirmation):
    mixed = confirmation(None, [0.8, 0.9], [900, 950], placement=MIXED, found=True, failures={3: "NaN"})
    none = confirmation("none", [0.7], [4000])
    found = result(trials, [mixed, none])
    write_report(found)
    rows = rows_of(found.folder / "confirmation.csv")
    assert [(row["uniform"], row["seed"], row["accuracy"], row["reason"]) for row in rows] == [
        ("", "1", "0.8", ""),
        ("", "2", "0.9", ""),
        ("", "3", "", "NaN"),
        ("none", "1", "0.7", ""),
    ]
    assert [float(row["spikes"]) for row in rows if row["spikes"]] == [900, 950, 4000]
    assert Placement.from_json(rows[0]["placement"]) == mixed.placement
    assert [row["found"] for row in rows] == ["True", "True", "True", "False"]


def test_the_front_is_placements_by_rising_cost(result, trials):
    found = result(trials)
    write_report(found)
    paths = sorted((found.folder / "front").iterdir())
    read = [Placement(yaml.safe_load(path.read_text())) for path in paths]
    assert read == [t.placement for t in found.front]
    assert [path.name for path in paths] == [f"{n:02}-{p.digest}.yaml" for n, p in enumerate(read, 1)]
    assert paths[1].read_text().startswith("# accuracy 0.8500, 900 spikes a sample (validation, trial 3)\n")


def test_what_was_confirmed_is_written_by_rising_cost_with_its_mean(result, trials, confirmation):
    mixed = confirmation(None, [0.8, 0.9], [900, 1100], placement=MIXED)
    dead = confirmation("ta", [], [], failures={1: "RuntimeError"})
    found = result(trials, [mixed, confirmation("none", [0.7], [4000]), dead])
    write_report(found)
    paths = sorted((found.folder / "confirmed").iterdir())
    assert [Placement(yaml.safe_load(path.read_text())) for path in paths] == [Placement(MIXED), Placement()]
    first = paths[0].read_text().splitlines()[0]
    assert first == f"# {MIXED_LABEL}: accuracy 0.8500, 1,000 spikes a sample (test, mean of 2 seeds)"


def test_writing_again_replaces_an_older_front(result, trials):
    write_report(result(trials))
    write_report(found := result(trials[:1]))
    assert len(list((found.folder / "front").iterdir())) == 1
    assert sorted(path.name for path in found.folder.iterdir()) == [
        "confirmation.csv",
        "front",
        "pareto.png",
        "pareto.svg",
        "trials.csv",
    ]


def test_nothing_yet_can_be_written_and_printed(result, console):
    found = result([])
    write_report(found)
    print_report(found, console)
    assert "No trial has ended yet" in console.file.getvalue()


# what it prints


def test_without_a_terminal_it_is_plain_text(result, trials, confirmation, console):
    mixed = confirmation(None, [0.86, 0.88], [900, 1100], placement=MIXED, found=True)
    found = result(trials, [mixed, confirmation("none", [0.80, 0.90], [3000, 5000])])
    print_report(found, console)
    text = console.file.getvalue()
    assert "\x1b" not in text
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    assert cells == [
        [MIXED_LABEL, "yes", "87.0 ± 1.4", "1,000 ± 141", "25.0%", "+2.0 [-48.8, +52.8]"],
        ["none", "", "85.0 ± 7.1", "4,000 ± 1,414", "100.0%", ""],
    ]
    assert all(sentence in text for sentence in conclusions(found))
    assert str(found.folder) in text
    assert "2 seeds" in text


def test_unconfirmed_it_shows_the_front(result, trials, console):
    print_report(result(trials), console)
    text = console.file.getvalue()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    assert cells == [["block1 tcsa", "50.0", "100"], [MIXED_LABEL, "85.0", "900"], ["none", "90.0", "3,000"]]


def test_brackets_are_not_taken_for_markup(result, trial, confirmation, console):
    odd = {"block1.current": {"name": "ta", "mode": "[red]x[/no]"}}
    failed = trial(1, reason="RuntimeError: a tensor of [batch] [/b] elements")
    found = result([trial(0, 0.9, 100, placement=odd), failed])
    print_report(found, console)
    print_report(result(found.trials, [confirmation(None, [0.8], [90], placement=odd)]), console)
    text = console.file.getvalue()
    assert "RuntimeError: a tensor of [batch] [/b] elements" in text
    assert text.count("mode=[red]x[/no]") >= 2


def test_on_a_terminal_the_best_is_bold(result, trials, confirmation):
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system="standard")
    found = result(trials, [confirmation("ta", [0.9], [2000]), confirmation("none", [0.8], [3000])])
    print_report(found, console)
    assert "\x1b[1mta everywhere\x1b[0m" in console.file.getvalue()
