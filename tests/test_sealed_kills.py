"""Processes that keep sealed states or rotate keys, killed at random moments; the benchmark has a hundred of each."""

from benchmarks.ledger.sealed_kills import held, lines, measure, open_under, unreadable_under
from benchmarks.ledger.sealing_worker import MARK
from dpjax.encryption.writer import write_sealed
from tests.sealing import ring


def test_what_was_sealed_when_the_process_was_killed_opens_and_nothing_lies_open(tmp_path):
    found = measure(kills=3, trainings=0, seed=0, folder=tmp_path)
    assert held(found), found
    assert sum(one["kept"] for one in found["states"])
    assert sum(one["rotated"] for one in found["rotation"])
    assert len(lines(found)) == len(found)


def test_the_benchmark_finds_what_lies_open_and_what_does_not_open(tmp_path):
    (tmp_path / "seed-0").mkdir()
    keys = ring()
    path = write_sealed(tmp_path / "seed-0/1.sealed", MARK * 1000, keys, purpose="checkpoint")
    assert (open_under(tmp_path), unreadable_under(tmp_path, keys)) == (0, [])
    (tmp_path / "seed-0/.2.sealed.tmp").write_bytes(path.read_bytes()[:7])  # cut in the first bytes
    assert open_under(tmp_path) == 0
    (tmp_path / "seed-0/.3.sealed.tmp").write_bytes(bytes(100))
    (tmp_path / "left").write_bytes(b"..." + MARK)
    assert open_under(tmp_path) == 2
    path.write_bytes(path.read_bytes()[:-1])
    assert unreadable_under(tmp_path, keys) == ["1.sealed"]
    lost = {"within": 1, "open": 0, "unreadable": [], "lost": True}
    assert not held({"states": [lost], "trainings": [], "rotation": []})
