"""The rules of the house, each held by a test: layout, layers, licence, dependencies, entry points, commands."""

import ast
import inspect
import os
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import distribution, entry_points, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from quietspike.core import ATTENTION, BACKBONES, COMMANDS, DATASETS, ENGINES, NEURONS
from quietspike.search.cli import main

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("core", "attention", "datasets", "search")
REGISTRIES = {registry.kind: registry for registry in (ATTENTION, BACKBONES, COMMANDS, DATASETS, ENGINES, NEURONS)}
SOURCES = sorted(ROOT.glob("packages/*/src/**/*.py"))

each_package = pytest.mark.parametrize("name", NAMES)
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "packages")))


@cache
def project(name):
    return tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())["project"]


@cache
def tracked():
    """The files that git has, or would take."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def plugins():
    for name in NAMES:
        for group, entries in project(name)["entry-points"].items():
            for plugin, target in entries.items():
                yield pytest.param(f"quietspike-{name}", group, plugin, target, id=f"{group}:{plugin}")


# layout


def test_there_are_the_four_packages_and_no_other():
    assert sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")) == sorted(NAMES)


@each_package
def test_a_package_has_its_parts(name):
    folder = ROOT / "packages" / name
    for part in ("README.md", "CHANGELOG.md", "LICENSE", f"src/quietspike/{name}/py.typed"):
        assert (folder / part).is_file(), part
    assert f"## {project(name)['version']}\n" in (folder / "CHANGELOG.md").read_text()
    assert [path.name for path in (folder / "src" / "quietspike").iterdir() if path.name != "__pycache__"] == [name]


@each_package
def test_a_package_says_what_it_is(name):
    facts = project(name)
    assert facts["name"] == f"quietspike-{name}"
    assert (facts["license"], facts["license-files"]) == ("Apache-2.0", ["LICENSE"])
    assert (facts["readme"], facts["requires-python"]) == ("README.md", ">=3.11")


@each_package
def test_its_licence_is_the_roots(name):
    assert (ROOT / "packages" / name / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_namespace_belongs_to_nobody():
    assert list(ROOT.glob("packages/*/src/quietspike/__init__.py")) == []


def test_files_are_short_and_named_for_what_they_hold():
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length > 300} == {}
    assert statistics.median(lengths.values()) <= 150
    assert [path for path in lengths if path.stem in ("utils", "util", "helpers", "common", "misc")] == []


def test_no_path_of_one_machine_is_written_down():
    machine = re.compile(rb"(?<![\w.])/" + rb"(work|root|home|Users|tmp/w)/")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        if path.suffix not in (".npz", ".png")
        for number, line in enumerate(path.read_bytes().splitlines(), 1)
        if machine.search(line)
    ]
    assert found == []


def test_each_package_has_its_folder_of_tests():
    assert [name for name in NAMES if not list(ROOT.glob(f"tests/{name}/test_*.py"))] == []


# what is imported


def imported(source):
    """All modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield node.module


UNPICKLERS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
RESTRICTED = ROOT / "packages/datasets/src/quietspike/datasets/formats/pickled.py"  # makes numpy's arrays, runs nothing
READ_PICKLES = re.compile(r"torch\.load\(|allow_pickle\s*=\s*True|weights_only\s*=\s*False|log_model\(|read_pickle\(")


@each_source
def test_nothing_loads_pickles(source):
    allowed = {"pickle"} if source == RESTRICTED else set()
    assert UNPICKLERS & {module.partition(".")[0] for module in imported(source)} == allowed
    assert READ_PICKLES.findall(source.read_text()) == []


IMPLIED = {
    "llvmlite": "numba",  # required by numba in one version, and what its intrinsics are written in
    "pydantic_core": "pydantic",  # pinned by pydantic to one version, and documented as its part
}


@each_package
def test_what_it_imports_is_what_it_declares(name):
    facts = project(name)
    optional = [line for extra in facts.get("optional-dependencies", {}).values() for line in extra]
    declared = {canonicalize_name(Requirement(line).name) for line in [*facts["dependencies"], *optional]}
    owners = packages_distributions()
    used = set()
    for source in ROOT.glob(f"packages/{name}/src/**/*.py"):
        for module in imported(source):
            top, *rest = module.split(".")
            if top in sys.stdlib_module_names or (top == "quietspike" and rest[0] == name):
                continue
            possible = {f"quietspike-{rest[0]}"} if top == "quietspike" else {IMPLIED.get(top), *owners.get(top, [top])}
            found = {canonicalize_name(owner) for owner in possible if owner} & declared
            assert found, f"{source.relative_to(ROOT)} imports {module}, which is not declared"
            used |= found
    assert declared == used, "declared, not imported"


@each_package
def test_dependencies_have_lower_bounds_and_siblings_ranges(name):
    for line in project(name)["dependencies"]:
        needed = Requirement(line)
        operators = {part.operator for part in needed.specifier}
        assert ">=" in operators, line
        assert "==" not in operators, line
        if needed.name.startswith("quietspike-"):
            assert needed.name == "quietspike-core", "siblings are found by name, never required"
            assert operators == {">=", "<"}, line
            assert needed.specifier.contains(project("core")["version"]), line


def test_constraints_pin_what_is_needed():
    needed = {Requirement(line).name for name in NAMES for line in project(name)["dependencies"]}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert {requirement.name for requirement in pinned} <= needed
    assert "torch" in {requirement.name for requirement in pinned}


# the checks themselves: each finds what it is there to find


class Copy:
    """A copy of the sources, to plant mistakes in."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copytree(ROOT / "packages", folder / "packages", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)

    def plant(self, package, line):
        with (self.folder / f"packages/{package}/src/quietspike/{package}/__init__.py").open("a") as file:
            file.write(f"{line}\n")

    def run(self, tool, *arguments):
        paths = [str(self.folder / "packages" / name / "src") for name in NAMES]
        return subprocess.run(
            [Path(sys.executable).with_name(tool), *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("core", "import quietspike.attention"),
        ("attention", "import quietspike.datasets.events"),
        ("datasets", "from quietspike.search import config"),
        ("search", "from quietspike.attention import joint"),
    ],
)
def test_an_import_against_the_layers_is_found(copy, package, line):
    copy.plant(package, line)
    done = copy.run("lint-imports", "--no-cache")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(rf"quietspike\.{package} is not allowed to import quietspike\.\w+", done.stdout), done.stdout


@pytest.mark.slow
def test_a_wrong_type_in_any_package_is_found(copy):
    for name in NAMES:
        copy.plant(name, "count: int = 'three'")
    done = copy.run("mypy")
    found = re.findall(r"^packages/(\w+)/src/quietspike/\w+/__init__\.py:\d+: error: ", done.stdout, re.MULTILINE)
    assert sorted(found) == sorted(NAMES), done.stdout + done.stderr


# the catalogue


@pytest.mark.parametrize(("owner", "group", "name", "target"), list(plugins()))
def test_a_plugin_is_what_its_line_says(owner, group, name, target):
    [entry] = [entry for entry in entry_points(group=group) if entry.name == name]
    assert entry.value == target
    registry = REGISTRIES[group.removeprefix("quietspike.")]
    plugin = registry.get(name)
    module, _, attribute = target.partition(":")
    assert plugin is getattr(sys.modules[module], attribute)
    assert registry.owner(name).split() == [owner, project(owner.removeprefix("quietspike-"))["version"]]
    TAKES[registry.kind](list(inspect.signature(plugin).parameters.values()))


def _takes_a_site_and_options(parameters):
    assert parameters[0].name == "site"
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters[1:])


def _takes_options_with(*names):
    def check(parameters):
        assert all(p.default is not p.empty for p in parameters if p.kind is not p.VAR_KEYWORD)
        assert set(names) <= {p.name for p in parameters}

    return check


def _takes_words_and_a_console(parameters):
    assert [p.name for p in parameters] == ["arguments", "console"]


TAKES = {
    "attention": _takes_a_site_and_options,
    "backbones": _takes_options_with("input_shape", "steps", "classes", "attention", "neuron"),
    "commands": _takes_words_and_a_console,
    "datasets": _takes_options_with("steps", "seed"),
    "engines": _takes_options_with(),
    "neurons": _takes_options_with("membrane"),
}


@each_package
def test_every_installed_line_is_in_the_catalogue(name):
    installed = {(entry.group, entry.name) for entry in distribution(f"quietspike-{name}").entry_points}
    written = {(group, entry) for group, entries in project(name)["entry-points"].items() for entry in entries}
    written |= {("console_scripts", script) for script in project(name).get("scripts", {})}
    assert installed == written, "the environment is older than pyproject.toml: make test installs anew"


def test_the_command_is_the_command_lines_main():
    [script] = entry_points(group="console_scripts", name="quietspike")
    assert script.load() is main


# commands


def documented():
    """Each ``make`` target and ``quietspike`` command in the code of a page, with the page."""
    command = r"(make|quietspike) ([a-z]+)"
    for page in tracked():
        if page.suffix == ".md":
            text = page.read_text()
            blocks = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL) + re.findall(
                r"^    .*", text, re.MULTILINE
            )
            found = re.findall(rf"`{command}", text)
            found += [pair for block in blocks for pair in re.findall(rf"^\s*(?:\$ )?{command}", block, re.MULTILINE)]
            yield from ((str(page.relative_to(ROOT)), *pair) for pair in found)


def test_every_target_has_its_line_of_help():
    text = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())
    assert {"search", "test", "check", "verify", "clean"} <= phony
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^make (\w+) +\w", shown, re.MULTILINE)) == phony


def test_the_pages_name_commands_that_exist(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = set(re.findall(r"^    (\w+)(?: |$)", capsys.readouterr().out, re.MULTILINE))
    assert {"search", "train", "evaluate", "analyse", "report", "sites", "list", "ui", "data"} <= commands
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {"make": targets, "quietspike": commands}
    assert [found for found in documented() if found[2] not in known[found[1]]] == []


def test_the_readme_names_the_two_commands():
    named = {(tool, word) for page, tool, word in documented() if page == "README.md"}
    assert {("make", "search"), ("make", "test")} <= named
