import os
import platform
import subprocess
from importlib.metadata import version

import pytest

from quietspike.search.provenance import provenance


@pytest.fixture
def git(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)

    def run(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *who, *words], check=True, capture_output=True, text=True).stdout.strip()

    return run


def test_versions_are_those_installed():
    found = provenance()
    assert found["version.python"] == platform.python_version()
    for name in ("torch", "optuna", "mlflow", "quietspike-core", "quietspike-search", "quietspike-attention"):
        assert found[f"version.{name}"] == version(name)
    assert all(isinstance(value, str) for value in found.values())


def test_the_commit_is_that_of_the_working_directory(git, tmp_path):
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    git("tag", "-a", "v1", "-m", "v1")
    commit = git("rev-parse", "HEAD")
    assert provenance()["git.commit"] == commit
    (tmp_path / "file").write_text("two")
    assert provenance()["git.commit"] == f"{commit}+"


def test_outside_of_a_repository_the_commit_is_unknown(git):
    assert provenance()["git.commit"] == "unknown"


def test_without_git_the_commit_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    assert provenance()["git.commit"] == "unknown"


def test_a_broken_installation_does_not_matter(monkeypatch, tmp_path):
    (tmp_path / "broken-1.0.dist-info").mkdir()
    (tmp_path / "broken-1.0.dist-info" / "METADATA").write_text("")
    (tmp_path / "empty-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert provenance()["version.torch"] == version("torch")


def test_whatever_brings_a_plugin_is_recorded(monkeypatch, tmp_path):
    folder = tmp_path / "somebodys_attention-2.5.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-attention\nVersion: 2.5\n")
    (folder / "entry_points.txt").write_text("[quietspike.attention]\nmine = somebodys:mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert provenance()["version.somebodys-attention"] == "2.5"
