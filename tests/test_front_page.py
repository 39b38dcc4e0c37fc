"""``import dpjax`` opens everything, lists it, and costs nothing."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import dpjax

SOURCE = Path(inspect.getfile(dpjax))
EXPORTED = {
    (module, name) for modules in dpjax.STAGES.values() for module, names in modules.items() for name in names.split()
}


def run(code: str) -> str:
    """What a fresh Python prints, without the checks of the test run."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_type_checkers_see_what_is_exported():
    """The block under TYPE_CHECKING, the one place that repeats the table, holds the same names in the same order."""
    (block,) = [node for node in ast.parse(SOURCE.read_text(encoding="utf-8")).body if isinstance(node, ast.If)]
    packages, *imports = block.body
    assert isinstance(packages, ast.ImportFrom)
    assert [alias.name for alias in packages.names] == list(dpjax.PACKAGES)
    seen = [
        (str(node.module).removeprefix("dpjax."), [alias.name for alias in node.names])
        for node in imports
        if isinstance(node, ast.ImportFrom)
    ]
    table = [(module, names.split()) for modules in dpjax.STAGES.values() for module, names in modules.items()]
    assert seen == table


def test_what_is_exported_is_listed_once_and_opens():
    names = [name for _, name in EXPORTED]
    assert len(names) == len(set(names)) == len(dpjax.__all__) - 1
    assert set(dir(dpjax)) == {*dpjax.__all__, *dpjax.PACKAGES}
    for module, name in EXPORTED:
        assert getattr(dpjax, name) is getattr(importlib.import_module(f"dpjax.{module}"), name)
    with pytest.raises(AttributeError, match="no attribute 'scaffold'"):
        dpjax.scaffold  # noqa: B018


def test_each_package_opens_by_itself():
    for package in dpjax.PACKAGES:
        assert getattr(dpjax, package) is importlib.import_module(f"dpjax.{package}")
    assert run("import dpjax; print(dpjax.federated.scaffold.__name__)") == "scaffold"


def test_a_package_exports_what_the_front_page_takes_from_it():
    for module, name in EXPORTED:
        home = importlib.import_module(f"dpjax.{module}")
        assert name in getattr(home, "__all__", [name]), f"dpjax.{module}.{name}"


def test_the_version_costs_no_import():
    """Nothing but the standard library is loaded, which is what takes time; with accounting still no JAX."""
    code = "import sys, dpjax; dpjax.__version__; print([m for m in ('jax', 'numpy', 'scipy') if m in sys.modules])"
    assert run(code) == "[]"
    code = "import sys, dpjax; dpjax.epsilon, dpjax.accounting.Participation; print('jax' in sys.modules)"
    assert run(code) == "False"
    code = "import time; t = time.perf_counter(); import dpjax; dpjax.__version__; print(time.perf_counter() - t)"
    assert min(float(run(code)) for _ in range(3)) < 0.1


def test_no_package_hides_a_module_behind_a_name_that_it_exports():
    """``import dpjax.clipping.explain`` would be the function of that name, and no tool could open the module."""
    hidden = []
    for page in Path(dpjax.__file__).parent.rglob("__init__.py"):
        modules = {path.stem for path in page.parent.iterdir() if path.suffix == ".py" or path.is_dir()}
        for node in ast.walk(ast.parse(page.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1] in modules:
                hidden += [f"{node.module}: {alias.name}" for alias in node.names if alias.name in modules]
    assert hidden == []
