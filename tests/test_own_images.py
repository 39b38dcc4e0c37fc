"""Folders of images of one's own: their classes, owners and sizes, and what is refused."""

import csv

import numpy as np
import pytest
from PIL import Image

from benchmarks.first_hour import write_images
from dpjax.datasets import DatasetError, TableSource
from dpjax.datasets.own_tables.images import load_images
from dpjax.results import load


def pictures(folder, rows=40, *, mode="L", size=(6, 5), name="{kind}/{i}.png"):
    """Bright pictures of class day, dark ones of class night."""
    source = np.random.default_rng(0)
    for i in range(rows):
        kind = ("night", "day")[i % 2]
        shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
        pixels = source.integers(0, 100, shape) + 150 * (i % 2)
        path = folder / name.format(kind=kind, i=i, split="test" if i % 5 == 0 else "train")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8), mode).save(path)
    return folder


def test_folders_are_classes_and_pixels_go_from_0_to_1(tmp_path):
    data = load_images(TableSource(str(pictures(tmp_path))))
    assert (data.train_inputs.shape, data.test_inputs.shape) == ((32, 5, 6, 1), (8, 5, 6, 1))
    assert (data.class_names, data.learnt, data.task) == (("day", "night"), "classes of its folders", "image")
    bright = data.train_inputs.mean((1, 2, 3)) > 0.5
    np.testing.assert_array_equal(np.array(data.class_names)[data.train_labels] == "day", bright)
    assert data.train_inputs.dtype == np.float32
    assert 0 <= data.train_inputs.min() <= data.train_inputs.max() <= 1


def test_folders_may_be_splits_and_classes(tmp_path):
    data = load_images(TableSource(str(pictures(tmp_path, name="{split}/{kind}/{i}.png"))))
    assert (len(data.train_labels), len(data.test_labels)) == (32, 8)


def test_a_table_beside_them_names_class_and_owner(tmp_path):
    pictures(tmp_path, name="all/{i}.png")
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        rows = [[f"all/{i}.png", ("night", "day")[i % 2], f"clinic {i % 4}"] for i in reversed(range(40))]
        csv.writer(file).writerows([["file_name", "kind", "clinic"], *rows])
    data = load_images(TableSource(str(tmp_path), label="kind", unit="clinic", classes=("night", "day"), split="rows"))
    assert (data.num_train_units, data.unit, data.learnt) == (4, "clinic", "")
    assert data.unit_names == tuple(f"clinic {i}" for i in range(4))
    bright = data.train_inputs.mean((1, 2, 3)) > 0.5
    np.testing.assert_array_equal(data.train_labels == 1, bright)


def test_all_are_brought_to_one_size_and_one_kind(tmp_path):
    pictures(tmp_path, 20)
    pictures(tmp_path, 20, mode="RGB", size=(8, 8), name="{kind}/other-{i}.png")
    with pytest.raises(DatasetError, match=r"is 5×6 grey .* 8×8 coloured|is 8×8 coloured .* 5×6 grey"):
        load_images(TableSource(str(tmp_path)))
    data = load_images(TableSource(str(tmp_path)), size=[4, 7], channels=3)
    assert data.input_shape == (4, 7, 3)


def test_the_same_picture_on_both_sides_is_told(tmp_path):
    pictures(tmp_path, name="{split}/{kind}/{i}.png")
    (tmp_path / "test/day/copy.png").write_bytes((tmp_path / "train/day/1.png").read_bytes())
    assert "1 rows of the test set are in the training set too" in load_images(TableSource(str(tmp_path))).remarks


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        (lambda f: (f / "day/1.png").write_bytes(b"no image"), {}, "day/1.png can't be read as an image"),
        (lambda f: (f / "day/1.png").rename(f / "1.png"), {}, "1.png is not CLASS/image"),
        (lambda f: Image.new("RGBA", (6, 5)).save(f / "day/1.png"), {}, "is of mode RGBA"),
        (lambda f: Image.new("I;16", (6, 5)).save(f / "day/1.png"), {"channels": 1}, "has more than 8 bits a pixel"),
        (lambda f: None, {"size": [0, 3]}, "must be height and width"),
        (lambda f: None, {"channels": 2}, "data.channels=2 must be 1"),
        (
            lambda f: (f / "a.csv").write_text("file_name,kind\nday/1.png,x\n"),
            {"label": "kind"},
            "does not name day/11.png",
        ),
        (
            lambda f: (f / "a.csv").write_text("file_name,kind\nday/0.png,x\n"),
            {"label": "kind"},
            "which is no image here",
        ),
        (lambda f: None, {"label": "kind"}, "are columns of a table beside the images"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(change, options, sentence, tmp_path):
    pictures(tmp_path)
    change(tmp_path)
    label = options.pop("label", "")
    with pytest.raises(DatasetError) as error:
        load_images(TableSource(str(tmp_path), label=label), **options)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_of_images_is_trained_on_from_a_config(tmp_path, main):
    pictures(tmp_path / "pictures", rows=60)
    few = ["optimizer.num_steps=3", "num_seeds=1", "privacy.accountant=rdp", "privacy.delta=1e-3", "figures=false"]
    code, _, err = main("data=own", f"data.path={tmp_path / 'pictures'}", "model=cnn", *few)
    assert code == 0, err
    code, _, err = main("data=own", f"data.path={tmp_path / 'pictures'}", "data.columns.age=[0,1]", *few)
    assert code != 0
    assert "is not read of images" in err


def test_the_usual_learning_rate_of_a_cnn_learns_images_with_and_without_privacy(tmp_path, main):
    """At that of other models, 0.5, runs without privacy may stay at chance; what does, a note says at a run's end."""
    write_images(tmp_path / "scans", each=150)
    few = ["num_seeds=2", "privacy.accountant=rdp", "privacy.delta=1e-3", "optimizer.evaluate_every=50"]
    where = ["data=own", f"data.path={tmp_path / 'scans'}", "data.classes=[ring,cross]", "model=cnn", "figures=false"]
    code, out, err = main("-m", *where, *few, "privacy.epsilon=8,inf", "name=usual")
    assert code == 0, err
    assert load(next(tmp_path.rglob("usual/results.parquet")))["test_accuracy"].min() > 0.9
    assert "Nothing is learnt" not in out
    slow = ["optimizer.learning_rate=1e-9", "optimizer.num_steps=2", "privacy.epsilon=inf", "name=slow"]
    code, out, err = main(*where, *few, *slow)
    assert "Nothing is learnt at ε=∞" in out


def test_looking_at_a_folder_says_sizes_classes_and_what_is_learnt(tmp_path, capsys):
    from dpjax.cli import main as dpjax

    with pytest.raises(SystemExit):
        dpjax(["data", "inspect", str(pictures(tmp_path))])
    said = capsys.readouterr().out
    assert "40 images of 5×6, grey" in said
    assert "NOT private, learnt from the rows: classes of its folders." in said


def test_looking_at_a_folder_proposes_a_config_that_runs_once_its_classes_are_said(tmp_path, main):
    from dpjax.cli import main as dpjax

    draft = tmp_path / "scans.yaml"
    with pytest.raises(SystemExit) as done:
        dpjax(["data", "inspect", str(pictures(tmp_path / "scans", rows=60)), "--save", str(draft)])
    assert done.value.code in (0, None)
    assert draft.read_text().splitlines()[3:] == ["  classes: ???  # their names, as [no, yes]", "model: cnn"]
    draft.write_text(draft.read_text().replace("???", "[day, night]"))
    few = ["optimizer.num_steps=2", "num_seeds=1", "privacy.accountant=rdp", "privacy.delta=1e-3", "figures=false"]
    code, _, err = main(f"experiment={draft}", *few)
    assert code == 0, err
    assert "learnt" not in err
