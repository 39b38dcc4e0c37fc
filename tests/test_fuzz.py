"""Every field of the schema, mutated by its type: refused in one sentence that names it, or trained as the row says.

Driven by the schema: a new field is mutated too. ``pytest tests/test_fuzz.py -s -n 0`` prints the counts.
"""

import collections
import math
import signal
import time

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from dpjax.results import read_job_result
from experiments import identity, memory
from experiments.border import from_hydra
from experiments.config import CONF
from experiments.error_words import explain, is_expected
from experiments.fields import DEFAULTS, types, value_of
from experiments.launching.compose import as_job, make_compose
from experiments.readers import READ_WHEN, refuse_unread
from experiments.strict import refuse_choices

LONGEST = 10.0  # seconds for one command line, on a busy machine

VALUES = {
    int: ["-1", "0", "1", "2", "7", "300", "2147483647", "2147483648", "99999999999999999999", "1.5", "inf"],
    float: ["-1", "0", "1e-40", "0.3", "1", "2", "1e18", "1e39", "1e400", "inf", "-inf", "nan"],
    str: ["abc", "''", "'a b'", "../x", "none", "'ä'", '"a\\nb"', "abc" * 200],
    bool: ["true", "false", "2", "yes", "abc"],
    dict: ["{}", "{a:[0,1]}", "{a:{kind:number}}", "{a:1e400}", "{1:2}", "[]", "[1]", "3", "abc"],
    list: ["[]", "[1]", "[0]", "[-1]", "[99999999999999999999]", "[abc]", "[[1]]", "3", "[1.5]"],
}
WRONG = ["abc", "", "null", "true", "[1]", "{a:1}", "???", "${foo}", "${seed}", "(1", "'"]
"""Of these each field gets a few in turn."""

FEW = ["federated=fedavg", "federated.clients_per_round=10", "federated.num_clients=40"]
QUICK = ["model=logistic", "optimizer.num_steps=2", "num_seeds=1", "privacy.accountant=rdp", "figures=false"]
WORLDS = {
    "central": [],
    "federated": FEW,
    "correlated": ["privacy=dp_ftrl"],
    "shared": ["federated=distributed_privacy", *FEW[1:]],
    "inside": ["federated=inside_clients"],
    "pretrained": ["model=pretrained"],
    "wide": ["model=mlp", "optimizer=adamw", "clipping=adaptive"],
    "own": ["data=own", "data.path=table.csv", "data.label=ill"],
    "letters": ["model=text", "clipping=automatic"],
}

# Names that are looked up when a run begins, and are refused then: a data set, a checkpoint, a plugin.
LOOKED_UP = ("data.name", "model.name", "model.checkpoint", "synthesis.checkpoint")


def lines(bases):
    """(world, field, text) of every command line."""
    for number, (name, kind) in enumerate(types().items()):
        turn = [WRONG[(2 * number + k) % len(WRONG)] for k in range(1)]
        reading = [world for world in WORLDS if all(when.holds(bases[world]) for when in READ_WHEN[name])]
        worlds = reading or ["central"]
        for k, text in enumerate([*VALUES[kind], *turn]):
            yield worlds[k % len(worlds)], name, text
        below = f"{name}.x" if kind is not dict else f"{name}_x"  # whose names are the user's
        stranger = [(f"+{name}x", "1"), (below, "1"), (f"~{name}", ""), (f"++{name}x", "1")][number % 4]
        yield worlds[0], *stranger


def asked_for(text, found):
    """Whether a field holds what was typed."""
    if isinstance(found, bool):
        return text.lower() in (("true", "yes", "1", "2", "on") if found else ("false", "no", "0", "off", "${seed}"))
    if isinstance(found, int | float):
        try:
            return math.isclose(float(text), float(found), rel_tol=1e-12) or float(text) == float(found)
        except ValueError:
            return text == "${seed}" and found == 0
    if found is None:
        return text in ("null", "")
    if isinstance(found, str):
        if found.lower() == text.lower():
            return True
        return (
            found in (text, text.strip("'\""), text.strip('"').encode().decode("unicode_escape")) or text == "${seed}"
        )
    if isinstance(found, dict):
        return str(found).replace(" ", "").replace("'", "") == text.replace(" ", "")
    return str(list(found)).replace(" ", "").replace("'", "") == text.replace(" ", "")


class Late(BaseException):
    pass


def judge(composer, world, base, name, text):
    """(class, what was said) of one command line: what a single run does before it loads anything."""
    override = f"{name}={text}" if text or not name.startswith("~") else name
    field = name.strip("+~").removesuffix(".x")
    try:
        composed = composer([*world, override])
        refuse_choices(composed.hydra, sweep=False)
        cfg = from_hydra(as_job(composed, [override], 0).cfg)
        refuse_unread(cfg, composed.hydra.runtime.choices)
        memory.refuse_lanes(cfg, cfg.num_seeds)
        memory.refuse_run(cfg, num_parameters=650, slots=400, clients=40)
    except Late:
        return "hang", ""
    except Exception as error:
        sentence = explain(error)
        if not is_expected(error):
            return "traceback", repr(error)
        last = field.rpartition(".")[2]
        one = len(sentence.splitlines()) == 1 and sentence.endswith((".", "?")) and "Exception" not in sentence
        return (
            "refused"
            if one and any(word in sentence for word in (last, text or name, "an item of a list"))
            else "refused badly"
        ), sentence
    if name[0] in "+~" or name.endswith(".x"):
        return "ignored", "a field that is none"
    found = value_of(cfg, name)
    if not asked_for(text, found):
        return "ignored", f"holds {found!r}"
    same = found == value_of(base, name)
    left_out = name.partition(".")[0] in identity.NOT_OF_THE_RESULT
    if not same and not left_out and identity.digest(cfg) == identity.digest(base):
        return "ignored", "the result is that of another value"
    return "accepted", ""


@pytest.fixture(scope="module")
def judged():
    def late(number, frame):
        raise Late

    counts = collections.defaultdict(list)
    before = signal.signal(signal.SIGALRM, late)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = compose("config", ["hydra.job.config_name=config"], return_hydra_config=True)
        composer = make_compose(loader, master)
        worlds = {world: [*QUICK, *overrides] for world, overrides in WORLDS.items()}
        bases = {
            world: from_hydra(as_job(composer(overrides), overrides, 0).cfg) for world, overrides in worlds.items()
        }
        try:
            for world, name, text in lines(bases):
                signal.setitimer(signal.ITIMER_REAL, LONGEST)
                kind, said = judge(composer, worlds[world], bases[world], name, text)
                signal.setitimer(signal.ITIMER_REAL, 0)
                counts[kind].append((" ".join([*WORLDS[world], f"{name}={text}"]), said))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    return counts


@pytest.mark.parametrize("bad", ["traceback", "hang", "ignored", "refused badly"])
def test_no_field_is_misread(judged, bad):
    assert judged[bad] == []


def test_every_field_is_refused_for_something_and_the_fuzz_is_large(judged, capsys):
    with capsys.disabled():
        print("\nfields, by command line:", {kind: len(found) for kind, found in judged.items()})
    assert sum(map(len, judged.values())) > 1000
    assert len(judged["accepted"]) > 200
    assert set(types()) == set(DEFAULTS)


TRAINED = [
    "optimizer.learning_rate=1e18",
    "privacy.clip_norm=1e18",
    "privacy.noise_multiplier=1e18",
    "federated.clients_per_round=3 federated.num_clients=20 federated.client_learning_rate=1e18",
    "model=mlp model.hidden=[8,8] model.activation=relu optimizer.learning_rate=1e18 privacy=none",
    "optimizer.momentum=0.999 seed=4294967294",
]


@pytest.mark.parametrize("overrides", TRAINED)
def test_what_is_accepted_trains_and_the_row_says_how_it_ended(main, overrides, tmp_path):
    began = time.monotonic()
    code, out, err = main(*QUICK, *overrides.split())
    assert (code, "Traceback" in out + err) == (0, False), err
    (folder,) = [path.parent for path in tmp_path.rglob("result.json")]
    found = read_job_result(folder)
    assert found is not None
    ((row,), _) = found
    finite = math.isfinite(row["test_loss"]) and math.isfinite(row["train_loss"])
    assert row["diverged"] != finite
    assert not row["diverged"] or row["test_accuracy"] == row["train_accuracy"] == 0  # right about nothing
    assert "relu" not in overrides or row["diverged"]
    for each in overrides.split():
        assert each.split("=")[0].rpartition(".")[2] in row["config"]
    assert time.monotonic() - began < 60
