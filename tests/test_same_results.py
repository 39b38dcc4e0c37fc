"""What counts as the same result of two revisions."""

import numpy as np
import pytest

from benchmarks.same_results.commands import SWEEPS
from benchmarks.same_results.comparison import compare, same
from experiments.config import NOISES

ROW = {"overrides": "a=1", "seed": 0, "test_loss": 0.5, "config_hash": "x", "config": {"a": 1}, "wall_seconds": 1.0}


@pytest.mark.parametrize(
    ("old", "new"), [(0.0, -0.0), (1.0, 1), (0.1, float(np.nextafter(0.1, 1))), ([1.0], [1.0, 2.0]), (None, "")]
)
def test_cells_that_differ_in_a_bit_or_a_type_differ(old, new):
    assert not same(old, new)
    assert same(old, old)
    assert same(new, new)
    assert compare("it", [ROW | {"test_loss": old}], [ROW | {"test_loss": new}]).differences


def test_one_nan_is_another():
    assert same([float("nan")], [-float("nan")])


def test_times_and_what_only_one_side_has_are_no_differences():
    other = {"wall_seconds": 2.0, "newer": 1.0, "config": {"a": 1, "b": {"c": 2}}, "config_hash": "y"}
    result = compare("it", [ROW | {"older": 1}], [ROW | other])
    assert (result.differences, result.rows) == ([], 1)
    assert result.told == ["new has config.b.c", "new has newer", "old has older"]
    assert result.columns == ["config.a", "overrides", "seed", "test_loss"]


def test_a_hash_of_the_same_fields_and_a_field_within_the_config_are_compared():
    result = compare("it", [ROW], [ROW | {"config": {"a": 2}, "config_hash": "y"}])
    assert [line.partition(":")[0] for line in result.differences] == ["config.a", "config_hash"]


def test_sizes_of_ciphertexts_are_no_difference_and_other_sizes_are():
    for aggregation, differences in (("homomorphic", 0), ("secure", 1)):
        old, new = (ROW | {"aggregation": aggregation, "uplink_bytes": size} for size in (1.0, 2.0))
        assert len(compare("it", [old], [new]).differences) == differences


def test_rows_of_one_side_only_are_a_difference():
    second = ROW | {"seed": 1}
    assert compare("it", [ROW, second], [second]).differences == ["old only: ('a=1', '0', 'None')"]
    assert compare("it", [second], [second, ROW]).differences == ["new only: ('a=1', '0', 'None')"]


def test_rows_that_could_be_each_others_pair_are_refused():
    with pytest.raises(ValueError, match="agree in overrides, seed, epsilon"):
        compare("it", [ROW, ROW], [ROW, ROW])


def test_every_kind_of_noise_is_run():
    words = " ".join(SWEEPS.values())
    assert [noise for noise in NOISES if noise not in words] == []
