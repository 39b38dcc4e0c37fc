"""The docs run as they are printed: Python blocks, `dpjax` commands, configs of `experiments.run`, tables and links."""

import contextlib
import functools
import importlib.util
import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dpjax.datasets import describe
from dpjax.models.pretrained import checkpoint_folder
from tests.chats import write_chats
from tests.patients import write_patients

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FETCHED = checkpoint_folder("minilm").is_dir() and describe("rotten_tomatoes").fetched
TOLERANCE = 0.03  # of a printed number, relative: processors differ in the last bits of a training run

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NUMBER = re.compile(r"\d+(?:,\d{3})+|\d+\.?\d*(?:e[+-]?\d+)?")


def test_no_page_is_a_stub():
    texts = {name: page.read_text(encoding="utf-8") for name, page in zip(NAMES, PAGES, strict=True)}
    assert [name for name, text in texts.items() if len(text.split()) < 60 and "\n::: " not in text] == []


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, content) of each fenced block."""
    return _FENCE.findall(page.read_text(encoding="utf-8"))


def assert_prints(printed: str, expected: str, where: str) -> None:
    """The same words, and numbers that agree to TOLERANCE."""
    words = [_NUMBER.sub("#", text).split() for text in (printed, expected)]
    assert words[0] == words[1], f"{where} prints\n{printed}"
    numbers = [[float(n.replace(",", "")) for n in _NUMBER.findall(text)] for text in (printed, expected)]
    assert numbers[0] == pytest.approx(numbers[1], rel=TOLERANCE, abs=0), f"{where} prints\n{printed}"


@pytest.fixture
def _as_a_user_has_it(monkeypatch, tmp_path):
    """JAX with its defaults, not the test run's strictness; files go to a folder of the test's own."""
    import jax

    from dpjax.models import MODELS

    monkeypatch.chdir(tmp_path)
    before = dict(MODELS)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
    MODELS.clear()
    MODELS.update(before)


@pytest.mark.usefixtures("_as_a_user_has_it")
@pytest.mark.parametrize("page", [p for p in PAGES if "```python" in p.read_text()], ids=lambda p: p.stem)
def test_python_blocks_run_in_order_and_print_what_stands_below_them(page):
    if page.stem == "tutorial-language-models" and not FETCHED:
        pytest.skip("minilm or rotten_tomatoes is not on this machine")
    namespace: dict[str, object] = {"__name__": page.stem}
    content = blocks(page)
    for number, (language, block) in enumerate(content):
        if language != "python":
            continue
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(block, f"{page.name} block {number}", "exec"), namespace)
        if number + 1 < len(content) and content[number + 1][0] == "text":
            assert_prints(out.getvalue(), content[number + 1][1], f"{page.name} block {number}")


def _bare(command: str) -> str:
    return command if "fails: " in command else command.partition("  #")[0].strip()


def commands(page: Path) -> list[tuple[str, str]]:
    """(command, what stands below it) of a page's console blocks."""
    found: list[tuple[str, str]] = []
    for language, block in blocks(page):
        if language != "console":
            continue
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((_bare(line[2:]), ""))
            elif line:
                found[-1] = (found[-1][0], found[-1][1] + line + "\n")
    return found


# Each once: the same command stands on several pages.
COMMANDS = list(
    {command: (name, *command) for name, page in zip(NAMES, PAGES, strict=True) for command in commands(page)}.values()
)
NEEDS_MORE = (
    *("data fetch", "models fetch", "generate", "deploy", "ledger", "policy", "whoami", "release", "keys"),
    *("data protect", "data open"),
)
"""A network, what was fetched by it, or what other commands of the page have made: run by tests of their own."""


@pytest.fixture(scope="module")
def sweep_folder(tmp_path_factory) -> Path:
    """A folder with results of rows made up, below the names that the pages have, and a table."""
    from dpjax.results import write_job_result

    folder = tmp_path_factory.mktemp("sweep")
    write_patients(folder / "patients.csv", rows=300)
    write_chats(folder)
    for epsilon in (1.0, 8.0, float("inf")):
        for clients in (None, 10, 50):
            row = {
                "experiment": "quickstart",
                "dataset": "digits",
                "model": "mlp",
                "unit": "example" if clients is None else "client",
                "adjacency": "add_or_remove_one",
                "sampling": "poisson",
                "delta": 1e-5,
                "epsilon": epsilon,
                "epsilon_pld": epsilon,
                "clip_norm": 0.3,
                "clients_per_round": clients,
                "test_accuracy": 0.9 - 0.1 / epsilon,
                "test_auroc": 0.95 - 0.1 / epsilon,
                "test_worst_class": 0.8 - 0.1 / epsilon,
                "seed": 0,
                "config_hash": f"{epsilon}-{clients}",
            }
            for name in ("quickstart", "patients", "sines", "loop", "scores", "curve"):
                rows = [row | {"experiment": name, "seed": seed} for seed in (0, 1)]
                write_job_result(folder / "results" / name / row["config_hash"], rows, "made up")
    return folder


@pytest.mark.parametrize(("page", "command", "expected"), [c for c in COMMANDS if c[1].startswith("dpjax ")])
def test_dpjax_commands_run(page, command, expected, sweep_folder, monkeypatch, capsys):
    from dpjax.cli import main

    words = shlex.split(command, comments=True)[1:]
    if command.startswith(tuple(f"dpjax {name}" for name in NEEDS_MORE)):
        alone = words[0] in ("generate", "release", "whoami")  # commands without commands of their own
        words = [*words[: 1 if alone else 2], "--help"]  # it exists; what it does is tested elsewhere
    monkeypatch.chdir(sweep_folder)
    with pytest.raises(SystemExit) as done:
        main(words)
    printed = capsys.readouterr().out
    assert done.value.code in (0, None)
    if expected and words[-1] != "--help":
        assert_prints(printed, expected, command)


def write_files(page, folder):
    """The Python blocks of a page that begin with the name of a file, as these files."""
    for language, block in blocks(page):
        named = re.match(r"# (\w+\.py)\n", block) if language == "python" else None
        if named:
            (folder / named[1]).write_text(block)


def test_the_method_that_the_guide_adds_is_one_and_trains(tmp_path, monkeypatch):
    import dataclasses

    import yaml
    from hydra import compose, initialize_config_dir

    from experiments import config, jobs
    from experiments.border import from_hydra
    from experiments.leaderboard import declare
    from experiments.task import Job

    page = ROOT / "docs/how-to/add-method.md"
    monkeypatch.chdir(tmp_path)
    write_files(page, tmp_path)
    (block,) = [block for language, block in blocks(page) if language == "yaml"]
    method = declare.Method(name="sign_descent", **yaml.safe_load(block))
    assert method.num_settings == declare.protocol().budget
    assert {field.name for field in dataclasses.fields(method)} >= set(yaml.safe_load(block))
    quick = ["optimizer.num_steps=2", "num_seeds=1", "privacy.accountant=rdp", "optimizer.learning_rate=0.01"]
    given = [f"{name}={value}" for name, value in method.overrides.items()]
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = from_hydra(compose("config", [*given, *quick]))
    (outcome,) = jobs.run_group([Job(cfg, tmp_path / "out", "")])
    assert outcome.error is None
    assert outcome.rows[0]["test_accuracy"] > 0


@pytest.fixture
def config_path(tmp_path):
    """The configs, with every experiment that a page writes down as YAML added."""
    shutil.copytree(ROOT / "experiments/conf", tmp_path / "conf")
    for page in PAGES:
        for language, block in blocks(page):
            if language == "yaml" and "# @package _global_" in block:
                name = re.search(r"^experiment: (\w+)", block, re.MULTILINE)
                assert name is not None
                (tmp_path / "conf/experiment" / f"{name[1]}.yaml").write_text(block)
    return tmp_path / "conf"


@pytest.mark.parametrize(
    ("page", "command"), [c[:2] for c in COMMANDS if "experiments.run" in c[1] and ".yaml" not in c[1]]
)
def test_experiments_run_commands_compose_into_jobs_that_can_run(page, command, config_path, tmp_path, monkeypatch):
    from hydra import compose, initialize_config_dir

    from experiments.border import from_hydra
    from experiments.launching.sweeper import expand

    words = shlex.split(command.split("&&")[-1], comments=True)
    words = words[words.index("experiments.run") + 1 :]
    if "fails: " in command:
        done = subprocess.run(
            [sys.executable, "-m", "experiments.run", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert command.split("fails: ")[1] in done.stderr
        return
    monkeypatch.chdir(tmp_path)
    write_files(ROOT / page, tmp_path)
    multirun = "-m" in words
    arguments = [word for word in words if word != "-m"]
    with initialize_config_dir(str(config_path), version_base="1.3"):
        jobs = [tuple(arguments)]
        if multirun:
            fixed = [word for word in arguments if "=" in word and "," not in word]
            sweeper = compose("config", fixed, return_hydra_config=True).hydra.sweeper
            swept = [word for word in arguments if not word.startswith("hydra")]  # as Hydra hands them over
            jobs = expand(swept, sweeper.grids, sweeper.params, reference=sweeper.reference)
            assert len(jobs) > 2
            assert any("privacy.epsilon=inf" in job for job in jobs)
        for job in (jobs[0], jobs[-1]):
            from_hydra(compose("config", list(job)))


def test_yaml_experiments_of_the_docs_are_swept_as_written(config_path):
    from hydra import compose, initialize_config_dir

    from experiments.launching.sweeper import expand

    with initialize_config_dir(str(config_path), version_base="1.3"):
        cfg = compose("config", ["experiment=mine"], return_hydra_config=True)
    jobs = expand(["experiment=mine"], cfg.hydra.sweeper.grids)
    assert (cfg.experiment, cfg.data.name, cfg.num_seeds) == ("mine", "breast_cancer", 5)
    assert len(jobs) == (1 + 4 * 2) + (2 + 2 * 2)  # each grid with its references


@pytest.mark.parametrize("name", ["README.md", "docs/index.md"])
def test_the_config_of_the_front_page_is_the_sweep_of_its_table(name, config_path):
    from hydra import compose, initialize_config_dir

    from experiments.border import from_hydra
    from experiments.identity import point_hash
    from experiments.launching.sweeper import expand

    (block,) = [block for language, block in blocks(ROOT / name) if language == "yaml"]
    assert len(block.splitlines()) == len(["# curve.yaml"]) + 10
    (config_path / "experiment/curve.yaml").write_text(f"# @package _global_\n{block}")
    points = []
    with initialize_config_dir(str(config_path), version_base="1.3"):
        for word in ("experiment=curve", "experiment=quickstart"):
            sweeper = compose("config", [word], return_hydra_config=True).hydra.sweeper
            jobs = expand([word], sweeper.grids, sweeper.params)
            central = [job for job in jobs if "clients" not in str(job)]
            points.append({point_hash(from_hydra(compose("config", list(job)))) for job in central})
    assert len(points[0]) == 5 * 3 + 1
    assert points[0] == points[1]


@pytest.fixture(scope="module")
def regenerate():
    spec = importlib.util.spec_from_file_location("regenerate", ROOT / "docs/regenerate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["columns", "fields", "tunings", "adding", "curve", "best"])
def test_generated_tables_are_up_to_date(regenerate, name):
    page, content = regenerate.BLOCKS[name]
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert regenerate.block_in(text, name) == content(), "run `python docs/regenerate.py`"


def test_a_kind_is_known_to_no_more_files_than_is_said(regenerate):
    adding = sys.modules["adding"]
    known = {kind.what: adding.files_that_know(kind) for kind in adding.ADDED}
    assert {what: len(files) for what, files in known.items() if len(files) < 2} == {}  # its own, and the table
    assert [known[kind.what] for kind in adding.ADDED if len(known[kind.what]) > kind.most] == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", re.sub(_FENCE, "", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere_and_every_page_can_be_found(page):
    text = re.sub(_FENCE, "", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text):
        path, _, anchor = (link[0] or link[1]).partition("#")
        if "://" in path:
            continue
        target = page if not path else (page.parent / path).resolve()
        assert target.exists(), f"{page.name} links to {path}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {path}#{anchor}"
    if page.name != "README.md":
        nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
        assert str(page.relative_to(ROOT / "docs")) in nav


def test_pages_of_the_leaderboard_are_those_of_the_committed_results(regenerate, monkeypatch):
    from paper import gather

    once = functools.cache(gather.read)
    monkeypatch.setattr(gather, "read", lambda profile: once(profile).copy())
    made = regenerate.leaderboard_pages()
    for name, text in made.items():
        assert (ROOT / "docs/benchmark" / name).read_text(encoding="utf-8") == text, "run `python docs/regenerate.py`"
    assert {path.name for path in (ROOT / "docs/benchmark").glob("*.md")} == {*made, "published.md"}
    assert (ROOT / "docs/benchmark/published.md").read_text(encoding="utf-8") == regenerate.published_page()


def test_the_readmes_published_rows_are_those_of_the_committed_results():
    rows = re.findall(
        r"^\| .*\(([^()]+, \d{4})\) \| ([\d.]+) \| (.+?) \|$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 3
    page = (ROOT / "docs/benchmark/published.md").read_text(encoding="utf-8").splitlines()
    for source, published, ours in rows:
        end = f"| {float(published):g} | {ours} |"
        assert any(source in line and end in line for line in page), f"README: {source}: {published}, {ours}"


def test_every_rule_names_tests_that_exist():
    text = (ROOT / "docs/concepts/privacy-rules.md").read_text(encoding="utf-8")
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(?:\w+::)?(\w+)`", text):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"
    rows = re.findall(r"^\| (\d) \|.*", text, re.MULTILINE)
    assert rows == list("123456789")
    for row in re.findall(r"^\| \d \|.*$", text, re.MULTILINE):
        assert "tests/" in row


STRONG = re.compile(r"\b(never|always|exact|exactly|every)\b", re.IGNORECASE)
CONCEPTS = [page for page in sorted((ROOT / "docs/concepts").glob("*.md")) if page.stem != "privacy-rules"]


def strong_sentences(text: str) -> list[str]:
    """The sentences and rows of a page, apart from code, generated blocks and references, with a word of ``STRONG``."""
    text = re.sub(r"^## (?:References|What tests the strong words)\n.*?(?=^## |\Z)", "", text, flags=re.M | re.S)
    text = re.sub(r"<!-- generated: .*?<!-- end -->", "", re.sub(_FENCE, "", text), flags=re.S)
    parts = re.split(r"\n(?=[|#-])|\n\n|(?<=[.:;])\s", text)
    return [" ".join(part.split()) for part in parts if STRONG.search(part)]


@pytest.mark.parametrize("page", CONCEPTS, ids=lambda p: p.stem)
def test_strong_words_of_the_concepts_name_their_tests(page):
    text = page.read_text(encoding="utf-8")
    _, _, told = text.partition("## What tests the strong words\n")
    rows = re.findall(r"^\| (.*?) \| (`.*`) \|$", told, re.MULTILINE)
    rest = " ".join(text.removesuffix(told).split())
    for words, named in rows:
        assert words in rest, f"{page.name} does not say: {words}"
        for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", named):
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"
    untested = [s for s in strong_sentences(text) if not any(words in s for words, _ in rows)]
    assert untested == [], f"{page.name}: name a test of it in the table at its end, or say less"
