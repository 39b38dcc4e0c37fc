"""Where people stumble: a loss of a batch, labels of two axes, seeds as keys, epochs as steps; each in one sentence."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tests.stumbles import CASES, NO_KEY, OTHERS

SAID = {"a seed for a process": NO_KEY, "no key for a process": NO_KEY, "broken": "KeyError: 'gone'"}


@pytest.fixture(scope="module")
def answers():
    """In a process without the import hook, which would take wrong types before the library sees them."""
    script = Path(__file__).with_name("stumbles.py")
    command = [sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("call", ["by_run", "by_grad"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_not_for_one_example_is_told_in_one_sentence(answers, call, case):
    said = answers[f"{case}, {call}"]
    assert said.startswith(("TypeError: ", "ValueError: "))
    assert CASES[case][-1] in said
    assert "\n" not in said


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_right_runs_as_before_and_what_is_broken_says_what_it_says(answers, case):
    assert SAID.get(case, "nothing") in answers[case]


@pytest.mark.parametrize(
    ("more", "hinted"),
    [
        (["optimizer.num_steps=3", "optimizer.sampling_rate=0.01"], True),
        (["optimizer.num_steps=20", "optimizer.sampling_rate=0.01"], False),
    ],
)
def test_steps_that_look_like_epochs_are_hinted_at_and_run(main, more, hinted):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code, _, err = main("model=logistic", "num_seeds=1", "privacy.accountant=rdp", *more)
    said = (
        "optimizer.num_steps=3 at optimizer.sampling_rate=0.01 is 0.03 of one pass over the rows; these are "
        "steps, no epochs, of which one takes 100 steps"
    )
    assert code == 0, err
    assert [str(each.message) for each in caught if "no epochs" in str(each.message)] == [said] * hinted
