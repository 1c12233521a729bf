"""The wheel: it has all that the program reads, nothing else, and runs where nothing but it is installed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from zendaemon import __version__

REPOSITORY = Path(__file__).parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
NO_CODE = {
    "py.typed": "zendaemon/py.typed",
    "templates": "zendaemon/web/templates/*.html",
    "static files": "zendaemon/web/static/*.*",
    "migrations": "zendaemon/journal/migrations/**/*.*",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", folder, REPOSITORY], check=True)
    [built] = folder.iterdir()
    return built


@pytest.mark.parametrize("pattern", NO_CODE.values(), ids=NO_CODE)
def test_it_has_all_that_is_no_code(wheel: Path, pattern: str) -> None:
    wanted = {
        str(file.relative_to(REPOSITORY))
        for file in REPOSITORY.glob(pattern)
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert wanted, pattern
    assert wanted <= set(ZipFile(wheel).namelist())


def test_it_has_the_package_alone(wheel: Path) -> None:
    assert wheel.name == f"zendaemon-{__version__}-py3-none-any.whl"
    names = ZipFile(wheel).namelist()
    modules = {str(file.relative_to(REPOSITORY)) for file in (REPOSITORY / "zendaemon").rglob("*.py")}
    assert modules <= set(names)
    assert all(name.startswith(("zendaemon/", f"zendaemon-{__version__}.dist-info/")) for name in names)
    assert not [name for name in names if re.search(r"__pycache__|\.(?:pyc|db|log|env)$|/\.", name)]


def test_it_runs_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """With the versions of constraints.txt, and far from the sources; the pages' files are found, too."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    constraints = REPOSITORY / "constraints.txt"
    subprocess.run([*PIP, "--python", python, "install", "--constraint", constraints, wheel], check=True)
    program = python.with_name("zendaemon")
    told = subprocess.run(
        [program, "version"], cwd=tmp_path, env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert __version__ in told.stdout
    pages = "from zendaemon.web import pages; print(len(pages.environment(can_act=True).list_templates()))"
    told = subprocess.run([python, "-c", pages], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(told.stdout) == len(list(REPOSITORY.glob(NO_CODE["templates"])))


def test_every_name_of_the_project_has_a_version_that_fits() -> None:
    """What the extras and the program itself ask for is pinned in constraints.txt."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    known = {canonicalize_name(name): version for name, version in pinned.items()}
    extras = project["optional-dependencies"]
    assert set(extras) == {"otel", "dev"}
    for text in (*project["dependencies"], *extras["otel"], *extras["dev"]):
        wanted = Requirement(text)
        version = known.get(canonicalize_name(wanted.name))
        assert version is not None, f"{wanted.name} is not in constraints.txt"
        assert wanted.specifier.contains(version), f"{text}, but {version}"
