"""The project's own files: they parse, agree on the version and name paths that exist; the release is checked."""

import importlib.util
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from dpjax import __version__

ROOT = Path(__file__).parent.parent
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PROSE = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
WRITTEN_LATER = {"artifacts", "dist", "site"}  # by a command that the file names


def parsed(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version_and_licence():
    citation = parsed(ROOT / "CITATION.cff")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"cff-version", "message", "title", "authors", "version"} <= set(citation)
    assert citation["version"] == __version__
    assert citation["license"] == project["license"]
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_changelog_lists_this_version_or_what_becomes_it():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.*?)\]", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert __version__ in headings or f"To become {__version__}." in text
    assert "### Privacy" in text


@pytest.mark.parametrize("form", [f for f in FORMS if f.stem != "config"], ids=lambda f: f.stem)
def test_issue_forms_are_as_github_reads_them(form):
    content = parsed(form)
    assert content["name"]
    assert content["description"]
    ids = [item["id"] for item in content["body"] if item["type"] != "markdown"]
    assert len(ids) == len(set(ids)) > 0
    for item in content["body"]:
        assert item["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert item["attributes"].get("value" if item["type"] == "markdown" else "label")
        if item["type"] in ("dropdown", "checkboxes"):
            assert item["attributes"]["options"]


def test_the_privacy_form_points_away_from_the_public_and_warns_of_data():
    text = (ROOT / ".github/ISSUE_TEMPLATE/privacy.yml").read_text()
    assert "Report a vulnerability" in text
    assert "SECURITY.md" in text
    assert "Never attach private data" in text


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda f: f.stem)
def test_workflows_have_jobs_whose_needs_exist_and_ask_for_few_rights(workflow):
    content = parsed(workflow)
    assert content["permissions"] == {"contents": "read"}
    for job in content["jobs"].values():
        assert set([job["needs"]] if "needs" in job else []) <= set(content["jobs"])
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert "@" in step.get("uses", "@")
            for path in re.findall(r"(?<!\S)\.?\w*/[\w./]+", step.get("run", "")):
                assert (ROOT / path).exists(), path


def test_ci_runs_the_script_on_the_pinned_python_and_always_keeps_artifacts():
    steps = parsed(ROOT / ".github/workflows/ci.yml")["jobs"]["checks"]["steps"]
    versions = [s["with"]["python-version"] for s in steps if "setup-python" in s.get("uses", "")]
    assert versions == [(ROOT / ".python-version").read_text().strip()]
    assert [s["run"] for s in steps if "run" in s][-1] == ".ci/run"
    (upload,) = [s for s in steps if "upload-artifact" in s.get("uses", "")]
    assert upload["if"] == "always()"


@pytest.mark.parametrize("page", PROSE, ids=lambda p: p.stem)
def test_paths_and_links_in_prose_exist(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    named = re.findall(r"`([\w.]+(?:/[\w.]+)*/?)`", text)
    paths = [p.partition("::")[0] for p in named if "/" in p or p.endswith((".md", ".toml"))]
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    for path in [p for p in (*paths, *links) if p.strip("/") not in WRITTEN_LATER]:
        assert (ROOT / path).exists(), f"{page.name} names {path}"


@pytest.fixture(scope="module")
def check_wheel():
    spec = importlib.util.spec_from_file_location("check_wheel", ROOT / ".ci/check_wheel.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_release_with_something_missing_or_left_over_is_refused(check_wheel, tmp_path):
    def write(extra: str, missing: str) -> list[str]:
        with zipfile.ZipFile(tmp_path / "dpjax-1.2.3-py3-none-any.whl", "w") as wheel:
            for name in (*check_wheel.WHEEL, extra):
                if name != missing:
                    wheel.writestr(f"dpjax-1.2.3{name}" if name.startswith(".dist-info") else name, "")
        with tarfile.open(tmp_path / "dpjax-1.2.3.tar.gz", "w:gz") as sdist:
            for name in check_wheel.SDIST:
                sdist.addfile(tarfile.TarInfo(f"dpjax-1.2.3/{name}"))
        return check_wheel.problems_of(tmp_path, "v1.2.3")

    assert write("dpjax/noise.py", "") == []
    assert "holds tests" in write("tests/test_noise.py", "")[0]
    assert "has no experiments/conf/config.yaml" in write("dpjax/noise.py", "experiments/conf/config.yaml")[0]
    assert check_wheel.problems_of(tmp_path, "v1.2.4")[-1] == "the tag v1.2.4 does not name version 1.2.3"
    assert "0 wheels" in check_wheel.problems_of(tmp_path / "nothing")[0]


@pytest.fixture(scope="module")
def constraints():
    spec = importlib.util.spec_from_file_location("constraints", ROOT / ".ci/constraints.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOCK = """
[[package]]
name = "dpjax"
version = "0.1"
source = { editable = "." }

[[package]]
name = "jax"
version = "0.11"
source = { registry = "https://example.org" }
"""


def test_the_tested_resolution_is_written_and_read_back(constraints):
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert constraints.pins(LOCK) == ["jax==0.11"]
    written = tomllib.loads(constraints.rewritten(project, constraints.pins(LOCK)))
    assert written["tool"]["uv"] == tomllib.loads(project)["tool"]["uv"] | {"constraint-dependencies": ["jax==0.11"]}
    # Extras in conflict have versions of their own, which no one line can say.
    assert constraints.pins(LOCK + LOCK.replace("0.11", "0.12")) == []


def test_what_pip_installs_is_the_resolution_that_is_kept():
    kept = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    pinned = re.findall(r"^([\w.-]+==\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert len(pinned) > 50
    of_flower = {"typer", "rich"}  # which has older ones
    assert [line for line in pinned if line not in kept and line.partition("==")[0] not in of_flower] == []
    assert all("==" in line for line in kept)
