"""Logits of adapters of every family by PEFT: run in an environment with the extra ``reference``.

Writes tests/golden/adapters.json. The weights follow from their names (``tests.families.weights_of``)."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.families import ADAPTED, ADAPTERS, CONFIGS, class_of, task_of, weights_of


def base_of(family, folder):
    fields = {name: value for name, value in CONFIGS[family][0].items() if value is not None}
    config = transformers.AutoConfig.for_model(family, **fields)
    model = getattr(transformers, class_of(family))._from_config(config, attn_implementation="eager")
    model.save_pretrained(folder)
    file = Path(folder) / "model.safetensors"
    shapes = {name: list(array.shape) for name, array in load_file(file).items()}
    save_file(weights_of(shapes), file, metadata={"format": "pt"})
    return type(model).from_pretrained(folder, attn_implementation="eager").eval()


def logits_of(family, kind):
    ids = np.random.default_rng(1).integers(3, 90, 12)
    with tempfile.TemporaryDirectory() as folder:
        model = base_of(family, folder)
        made = {"lora": peft.LoraConfig, "ia3": peft.IA3Config, "prompt": peft.PromptTuningConfig}
        made["prefix"] = peft.PrefixTuningConfig
        config = made[kind.split()[0]](
            task_type="CAUSAL_LM" if task_of(family) == "causal" else None, **ADAPTERS[kind](ADAPTED[family])
        )
        peft.get_peft_model(model, config).save_pretrained(f"{folder}/adapter")
        file = Path(folder) / "adapter" / "adapter_model.safetensors"
        shapes = {name: list(array.shape) for name, array in load_file(file).items()}
        save_file(weights_of(shapes), file, metadata={"format": "pt"})
        written = json.loads((Path(folder) / "adapter" / "adapter_config.json").read_text())
        written["base_model_name_or_path"] = "base"
        opened = peft.PeftModel.from_pretrained(base_of(family, folder), f"{folder}/adapter").eval()
        with torch.no_grad():
            logits = opened(input_ids=torch.tensor(ids)[None]).logits[0].numpy()[-len(ids) :, ::18]
    for field in ("target_modules", "feedforward_modules"):  # sets, in whichever order
        if isinstance(written.get(field), list):
            written[field] = sorted(written[field])
    return {"config": written, "shapes": shapes, "ids": ids.tolist(), "logits": np.round(logits, 5).tolist()}


found = {
    f"{family} {kind}": logits_of(family, kind)
    for family, names in ADAPTED.items()
    for kind in ADAPTERS
    if kind in names[2:]
}
(Path(__file__).parent / "adapters.json").write_text(
    "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in found.items()) + "\n}\n"
)
