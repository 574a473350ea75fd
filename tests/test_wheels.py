"""Each package as its users get it: built, and installed from its wheel into an environment of its own.

Needs the network, or pip's cache, for what the packages depend on.
"""

import configparser
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("core", "attention", "datasets", "search")
PIP = ["-m", "pip", "--disable-pip-version-check"]
CONSTRAINED = ["--constraint", str(ROOT / "constraints.txt"), "-qq"]

TINY = [
    *("--device", "cpu", "--dataset.steps", "3", "--dataset.size", "12"),
    *("--dataset.train", "40", "--dataset.validation", "20", "--dataset.test", "20", "--train.epochs", "1"),
    *("--search.trials", "3", "--search.workers", "1", "--confirm.seeds", "1", "--confirm.front", "1"),
]

each_package = pytest.mark.parametrize("name", NAMES)


def run(*command, cwd, code=0):
    """Run a command outside the repository, away from this environment's paths."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done


def build(kind, source, target):
    """Build a ``wheel`` or ``sdist`` as its users' tools do, in an isolated environment."""
    if kind == "wheel":
        run(sys.executable, *PIP, "wheel", "--no-deps", "-qq", "--wheel-dir", target, source, cwd=target)
    else:
        run(sys.executable, "-m", "build", "--sdist", "--outdir", target, source, cwd=target)
    return target


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """A folder with the wheels of the four packages."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in NAMES:
        build("wheel", ROOT / "packages" / name, folder)
    return folder


def wheel_of(folder, name):
    [path] = folder.glob(f"quietspike_{name}-*.whl")
    return zipfile.ZipFile(path)


class Environment:
    """A fresh virtual environment."""

    def __init__(self, folder, wheels):
        venv.create(folder, with_pip=True)
        self.folder = folder
        self.wheels = wheels

    def install(self, *names):
        run(
            self.folder / "bin/python",
            *PIP,
            "install",
            *CONSTRAINED,
            "--find-links",
            self.wheels,
            *names,
            cwd=self.folder,
        )

    def python(self, code):
        return run(self.folder / "bin/python", "-c", code, cwd=self.folder).stdout

    def quietspike(self, *arguments, code=0):
        return run(self.folder / "bin/quietspike", *arguments, cwd=self.folder, code=code)

    @property
    def ours(self):
        """Our packages in it."""
        listed = run(self.folder / "bin/python", *PIP, "list", "--format", "freeze", cwd=self.folder).stdout
        return {line.partition("==")[0] for line in listed.splitlines() if line.startswith("quietspike")}


@pytest.fixture
def environment(tmp_path, wheels):
    fresh = Environment(tmp_path / "environment", wheels)
    yield fresh
    shutil.rmtree(fresh.folder)  # gigabytes


# what is in them


@each_package
def test_a_wheel_holds_what_it_must_and_nothing_else(wheels, name):
    wheel = wheel_of(wheels, name)
    held = set(wheel.namelist())
    source = ROOT / "packages" / name / "src"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    code = {file for file in files if "__pycache__" not in file}
    [facts] = {file.partition("/")[0] for file in held if ".dist-info/" in file}
    assert {file for file in held if not file.startswith(facts)} == code
    assert f"quietspike/{name}/py.typed" in held
    assert "quietspike/__init__.py" not in held
    assert wheel.read(f"{facts}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


@each_package
def test_a_wheel_says_what_pyproject_says(wheels, name):
    wheel = wheel_of(wheels, name)
    project = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())["project"]
    facts = f"quietspike_{name}-{project['version']}.dist-info"
    entries = configparser.ConfigParser(delimiters="=")
    entries.optionxform = str
    entries.read_string(wheel.read(f"{facts}/entry_points.txt").decode())
    written = {**project["entry-points"], **({"console_scripts": project["scripts"]} if "scripts" in project else {})}
    assert {group: dict(entries[group]) for group in entries.sections()} == written
    metadata = Parser().parsestr(wheel.read(f"{facts}/METADATA").decode())
    assert (metadata["Name"], metadata["License-Expression"]) == (f"quietspike-{name}", "Apache-2.0")
    assert metadata.get_payload().strip() == (ROOT / "packages" / name / "README.md").read_text().strip()


def test_the_default_experiment_is_in_the_search_wheel(wheels):
    default = yaml.safe_load(wheel_of(wheels, "search").read("quietspike/search/digits-default.yaml"))
    assert default["dataset"]["name"] == "digits_dvs"


@each_package
def test_a_source_distribution_gives_the_same_wheel(wheels, name, tmp_path):
    build("sdist", ROOT / "packages" / name, tmp_path)
    [sdist] = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {member.partition("/")[2] for member in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"} <= held
    again = wheel_of(build("wheel", sdist, tmp_path), name)
    first = wheel_of(wheels, name)
    assert {file: again.read(file) for file in again.namelist()} == {
        file: first.read(file) for file in first.namelist()
    }


# installed, each alone

IMPORT_ALL = """
import importlib, pkgutil, warnings
import quietspike.{name} as package
warnings.simplefilter("error")
optional = {optional}
names = [found.name for found in pkgutil.walk_packages(package.__path__, "quietspike.{name}.")]
for name in names:
    if name not in optional:
        importlib.import_module(name)
print(len(names))
"""


@pytest.mark.parametrize(("name", "kind"), [("core", "neurons"), ("attention", "attention"), ("datasets", "datasets")])
def test_it_installs_alone_with_core_at_most(environment, name, kind):
    with_triton = ("quietspike.core.kernels.firing_cuda",)  # which is an extra, and comes with torch for GPUs
    environment.install(f"quietspike-{name}")
    assert environment.ours == {"quietspike-core", f"quietspike-{name}"}
    assert int(environment.python(IMPORT_ALL.format(name=name, optional=with_triton))) > 5
    registry = f"from quietspike.core import {kind.upper()} as R"
    code = f"{registry}; print(*(name for name in R.names() if callable(R.get(name))))"
    written = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())["project"]["entry-points"]
    assert environment.python(code).split() == sorted(written[f"quietspike.{kind}"])


def test_search_alone_says_what_is_missing_step_by_step_and_then_searches(environment):
    environment.install("quietspike-search")
    assert environment.ours == {"quietspike-core", "quietspike-search"}
    with_ray = ("quietspike.search.with_ray", "quietspike.search.ray_cluster")
    assert int(environment.python(IMPORT_ALL.format(name="search", optional=with_ray))) > 5

    listed = environment.quietspike("list").stdout
    for part in ("conv3", "lif", "optuna", "pip install quietspike-attention", "pip install quietspike-datasets"):
        assert part in listed
    assert_one_line(environment.quietspike("search", code=2), "pip install quietspike-datasets")

    environment.install("quietspike-datasets")
    assert_one_line(environment.quietspike("search", code=2), "pip install quietspike-attention")
    assert not (environment.folder / "runs").exists()

    environment.install("quietspike-attention")
    assert "pip install" not in environment.quietspike("list").stdout
    environment.quietspike("search", *TINY)
    [folder] = (environment.folder / "runs").glob("digits-default-*")
    assert {"trials.csv", "confirmation.csv", "pareto.png", "pareto.svg"} <= {path.name for path in folder.iterdir()}

    by_ray = ("search", "--search.engine", "ray", "--name", "by_ray", *TINY)
    assert_one_line(environment.quietspike(*by_ray, code=2), "ray")
    environment.install("quietspike-search[ray]")
    environment.quietspike(*by_ray)
    [folder] = (environment.folder / "runs").glob("by_ray-*")
    assert (folder / "trials.csv").exists()


def assert_one_line(done, part):
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("quietspike: ")
    assert part in line
