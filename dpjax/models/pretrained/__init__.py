"""Pretrained language models: fetched once, verified, loaded from safetensors or GGUF, and saved again."""

from dpjax.fetching.folders import checkpoint_folder, models_folder
from dpjax.models.pretrained.adapter_files import load_adapters
from dpjax.models.pretrained.chat_templates import ChatTemplate
from dpjax.models.pretrained.checkpoints import CHECKPOINTS, Checkpoint
from dpjax.models.pretrained.conversations import Pairs, encode_answers, encode_conversations, encode_preferences
from dpjax.models.pretrained.copies import fetch
from dpjax.models.pretrained.exporting import opens_in_peft, save_adapters
from dpjax.models.pretrained.load_and_save import Pretrained, load, save
from dpjax.models.pretrained.merging import merge_adapters, unmerge_adapters
from dpjax.models.pretrained.packing import Packed, pack_rows
from dpjax.models.pretrained.tensor_files import CheckpointError
from dpjax.models.pretrained.token_ids import encode_ids
from dpjax.models.pretrained.tokens import Encoded, TextTokenizer, word_tokenizer

__all__ = [
    "CHECKPOINTS",
    "ChatTemplate",
    "Checkpoint",
    "CheckpointError",
    "Encoded",
    "Packed",
    "Pairs",
    "Pretrained",
    "TextTokenizer",
    "checkpoint_folder",
    "encode_answers",
    "encode_conversations",
    "encode_ids",
    "encode_preferences",
    "fetch",
    "load",
    "load_adapters",
    "merge_adapters",
    "models_folder",
    "opens_in_peft",
    "pack_rows",
    "save",
    "save_adapters",
    "unmerge_adapters",
    "word_tokenizer",
]
