"""``dpjax new``: a small project that runs as it is, to be changed piece by piece."""

import random
import re
from pathlib import Path
from typing import Annotated

import typer

_YAML = """\
# A sweep over ε on data.csv. Replace the file, and say what you know of its columns without looking at its rows:
# `dpjax data inspect data.csv --label outcome --unit person` shows what each of them would become.
data:
  name: own
  path: data.csv
  label: outcome
  unit: person
  classes: ['no', 'yes']
  columns: {age: [0, 110], income: [0, 200], region: [north, south, east, west]}
plugin: model.py
privacy: {records_per_unit: 2, delta: 1e-4}
optimizer: {num_steps: 60, learning_rate: 0.5}
hydra: {sweeper: {params: {privacy.epsilon: "1,3,8"}}}
"""

_MODEL = '''\
"""The model, which sees ONE example. Delete this file and the config's `plugin` to take dpjax's mlp."""

import jax.numpy as jnp
from flax import nnx

from dpjax.models import from_nnx


def make_model(num_classes, input_shape):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(input_shape[0], 16, rngs=rngs)
            self.head = nnx.Linear(16, num_classes, rngs=rngs)

        def __call__(self, row):
            return self.head(jnp.tanh(self.hidden(row)))

    return from_nnx(Net)
'''

_README = """\
# {name}

Made by `dpjax new`. It runs as it is, on made-up rows:

    dpjax data inspect data.csv --label outcome --unit person
    python -m experiments.run -m experiment={name}.yaml
    dpjax report results/{name}

| file | what it is |
|---|---|
| `{name}.yaml` | data, model, privacy and the sweep; every field is in `python -m experiments.run --help` |
| `data.csv` | made-up rows; put yours in their place |
| `model.py` | a model of your own; `make_loss`, `make_optimizer` and `clipping_rule` may stand there too |
| `test_{module}.py` | that the sweep's config trains, on three steps: `pytest` |
"""

_TEST = '''\
"""That the project trains: three steps of one run."""

import subprocess
import sys
from pathlib import Path


def test_it_trains(tmp_path):
    few = ["optimizer.num_steps=3", "num_seeds=1", "figures=false", f"results_dir={{tmp_path}}"]
    command = [sys.executable, "-m", "experiments.run", "experiment={name}.yaml", *few]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("results.parquet"))
'''


def new_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the folder, the experiment and its results.")],
) -> None:
    """Write a small project: data, model, config, README and a test, which run as they are.

    [bold]Example[/bold]

      dpjax new clinic && cd clinic && python -m experiments.run -m experiment=clinic.yaml
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,59}", name):
        typer.echo(f"error: NAME={name!r} names a folder; give letters, digits, - and _, with a letter first", err=True)
        raise typer.Exit(1)
    folder = Path(name)
    try:
        folder.mkdir(parents=True)
        for file, text in files_of(name).items():
            (folder / file).write_text(text, encoding="utf-8")
    except FileExistsError:
        typer.echo(f"error: {folder} is there already; choose another name", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        typer.echo(f"error: {folder} can't be written ({error.strerror}); go to another folder", err=True)
        raise typer.Exit(1) from None
    for file in sorted(files_of(name)):
        typer.echo(folder / file)
    typer.echo(f"Next: cd {name} && python -m experiments.run -m experiment={name}.yaml", err=True)


def files_of(name: str) -> dict[str, str]:
    """The files of a project.

    Args:
      name: of it.

    Returns:
      File → text.

    Example:
      >>> sorted(files_of("clinic"))
      ['README.md', 'clinic.yaml', 'data.csv', 'model.py', 'test_clinic.py']
    """
    module = name.replace("-", "_")
    return {
        f"{name}.yaml": _YAML,
        "data.csv": _rows(),
        "model.py": _MODEL,
        "README.md": _README.format(name=name, module=module),
        f"test_{module}.py": _TEST.format(name=name),
    }


def _rows(number: int = 600) -> str:
    """People who answer a question up to four times; the older and the richer say yes more often."""
    source = random.Random(0)  # nosec B311 # secures nothing
    lines = ["person,age,income,region,outcome"]
    for _ in range(number):
        person, age, income = source.randrange(number // 2), source.randrange(18, 95), round(source.gauss(60, 25), 1)
        region = source.choice(["north", "south", "east", "west"])
        says = "yes" if age / 40 + income / 60 + source.gauss(0, 0.7) > 2.4 else "no"
        lines.append(f"P{person:03d},{age},{max(income, 0)},{region},{says}")
    return "\n".join(lines) + "\n"
