"""The code of docs/how-to/own-model.md runs as it is printed."""

import re
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "own-model.md"


def test_every_block_of_the_own_model_page_runs():
    from dpjax.models import MODELS

    before = dict(MODELS)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    namespace: dict[str, object] = {"__name__": "own_model"}
    try:
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), namespace)
    finally:
        MODELS.clear()
        MODELS.update(before)
