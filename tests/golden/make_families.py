"""Logits of every family and variant by ``transformers``: run in an environment with the extra ``reference``.

Writes tests/golden/families.json. The weights follow from their names (``tests.families.weights_of``)."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.families import CASES, CONFIGS, class_of, weights_of

TOKENS = 20


def logits_of(family, number):
    fields = {name: value for name, value in CONFIGS[family][number].items() if value is not None}
    config = transformers.AutoConfig.for_model(family, **fields)
    model = getattr(transformers, class_of(family))._from_config(config, attn_implementation="eager").eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        file = Path(folder) / "model.safetensors"
        shapes = {name: list(array.shape) for name, array in load_file(file).items()}
        save_file(weights_of(shapes), file, metadata={"format": "pt"})
        written = json.loads((Path(folder) / "config.json").read_text())
        model = type(model).from_pretrained(folder, attn_implementation="eager").eval()
    ids = np.random.default_rng(number).integers(3, 90, TOKENS)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(ids)[None]).logits[0].numpy()
    logits = logits[:, ::18]  # five scores of each place say as much
    return {"config": written, "shapes": shapes, "ids": ids.tolist(), "logits": np.round(logits, 5).tolist()}


found = {f"{family} {number}": logits_of(family, number) for family, number in CASES}
(Path(__file__).parent / "families.json").write_text(
    "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in found.items()) + "\n}\n"
)
