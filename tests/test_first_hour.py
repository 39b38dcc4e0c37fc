"""The page of ten jobs: what its benchmark runs is what stands there, and each is as short as it says."""

import json
import re

from benchmarks.first_hour import PAGE, jobs_of, table, write_images, write_reviews
from dpjax.datasets import TableSource
from dpjax.datasets.own_tables.images import load_images
from dpjax.datasets.own_tables.texts import load_texts

JOBS = jobs_of(PAGE.read_text(encoding="utf-8"))


def test_there_are_ten_jobs_each_with_commands_and_few_lines():
    assert [job.number for job in JOBS] == list(range(1, 11))
    assert all(job.commands for job in JOBS)
    assert max(job.lines for job in JOBS) <= 25
    named = {name for job in JOBS for name in job.files}
    typed = {word for job in JOBS for command in job.commands for word in re.findall(r"[\w.]+\.(?:yaml|py)\b", command)}
    assert named <= typed


def test_the_config_of_one_s_own_table_has_at_most_ten_lines():
    (job,) = [job for job in JOBS if "patients.yaml" in job.files]
    assert len(job.files["patients.yaml"].splitlines()) <= 10
    assert len(job.commands) == 3


def test_the_table_on_the_page_is_of_these_jobs_and_of_one_run():
    measured = json.loads((PAGE.parents[1] / "benchmarks/results/first_hour.json").read_text())
    assert [(each["title"], each["lines"]) for each in measured["jobs"]] == [(job.title, job.lines) for job in JOBS]
    assert [len(each["seconds"]) for each in measured["jobs"]] == [len(job.commands) for job in JOBS]
    assert table(measured) in PAGE.read_text(encoding="utf-8")


def test_made_up_images_and_texts_are_read(tmp_path):
    write_images(tmp_path / "scans", each=40)
    assert load_images(TableSource(str(tmp_path / "scans"))).input_shape == (16, 16, 1)
    write_reviews(tmp_path / "reviews.parquet", rows=60)
    source = TableSource(str(tmp_path / "reviews.parquet"), label="stars", unit="author")
    assert load_texts(source, ("review",)).num_units > 10
