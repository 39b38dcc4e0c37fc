"""Chat templates in the styles that public checkpoints have, and a tokenizer whose tokens are words."""

import json
from dataclasses import replace
from pathlib import Path

from dpjax.models.pretrained import ChatTemplate, TextTokenizer, word_tokenizer

SPECIAL = (
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<bos>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<|endoftext|>",
    "[INST]",
    "[/INST]",
)
WORDS = (
    "system",
    "user",
    "assistant",
    "model",
    "hi",
    "there",
    "how",
    "are",
    "you",
    "fine",
    "thanks",
    "be",
    "kind",
    "|",
)

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
    "+ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    "{% for message in messages %}"
    "{% set role = 'model' if message.role == 'assistant' else message.role %}"
    "<start_of_turn>{{ role }}\n{{ message.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns must alternate') }}{% endif %}"
    "{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
    "{% else %} {{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
PHI = (
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}<|endoftext|>{% endif %}"
)
MARKED = (
    "{%- for message in messages %}\n{%- if message.role == 'assistant' %}\n{{- '<|im_start|>assistant\n' }}"
    "{% generation %}{{- message.content + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}\n{%- else %}\n"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}\n{%- endif %}\n{%- endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FORGETFUL = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content if loop.last or message.role == 'user' else message.content[:3] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Writes a turn shorter once another follows, as those do that leave out what a model thought."""

STYLES = {"chatml": CHATML, "llama": LLAMA, "gemma": GEMMA, "mistral": MISTRAL, "phi": PHI, "marked": MARKED}
BEGINNINGS = {"llama": "<|begin_of_text|>", "gemma": "<bos>"}


def tokenizer_of(source: str, *, bos: str = "<s>", special: tuple[str, ...] = SPECIAL) -> TextTokenizer:
    """A tokenizer of words with a chat template."""
    made = word_tokenizer([*special, *WORDS])
    made.raw.add_special_tokens(list(special))
    return replace(made, chat=ChatTemplate(source, (("bos_token", bos), ("eos_token", "</s>")), "the chat template"))


def turns(*contents: str, first: str = "user") -> list[dict[str, str]]:
    """Turns of user and assistant one after the other."""
    names = ("user", "assistant")
    start = names.index(first)
    return [{"role": names[(start + i) % 2], "content": content} for i, content in enumerate(contents)]


def write_chats(folder: Path, rows: int = 60) -> None:
    """Two files: conversations of users, and pairs of answers to their prompts."""
    talks = [
        {
            "messages": turns(f"how are you {i}", "fine thanks", f"be kind {i}", "fine"),
            "user": f"u{i % 12:02d}",
        }
        for i in range(rows)
    ]
    pairs = [
        {"prompt": f"how are you {i}", "chosen": "fine thanks", "rejected": f"be there {i}", "user": f"u{i % 12:02d}"}
        for i in range(rows)
    ]
    for name, lines in (("chats", talks), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
