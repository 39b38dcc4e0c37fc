"""Models of any family as llama.cpp's converter lays them out: for tests."""

import gguf
import numpy as np

from dpjax.models.pretrained.gguf_families import STORED
from dpjax.models.pretrained.names import NAMES, taken, tensors
from dpjax.models.pretrained.tensor_files import to_tensors
from dpjax.models.transformers import FAMILIES

WORDS = [*"abcdefghijklmnopqrstuvwxyz", "Ġ", "ab", "<end>"]


def write_family(path, arch, params, kind, *more):
    """Write a GGUF.

    Args:
      path: of the file.
      arch: of the model.
      params: by path.
      kind: ``general.architecture``.
      more: called with the writer.
    """
    stored = STORED[kind]
    writer = gguf.GGUFWriter(path, kind)
    writer.add_context_length(arch.max_length)
    writer.add_embedding_length(arch.width)
    writer.add_block_count(arch.num_layers)
    writer.add_feed_forward_length(arch.hidden_width)
    writer.add_head_count(arch.num_heads)
    writer.add_head_count_kv(arch.num_kv_heads)
    (writer.add_layer_norm_rms_eps if arch.norm == "rms" else writer.add_layer_norm_eps)(arch.norm_epsilon)
    rope = next((view.rope for view in arch.views[::-1] if view.rope is not None), None)
    if rope is not None:
        writer.add_rope_freq_base(rope.base)
        writer.add_rope_dimension_count(rope.width(arch.head_width))
    if kind in ("gemma2", "gemma3", "qwen3", "llama", "smollm3"):
        writer.add_key_length(arch.head_width)
        writer.add_value_length(arch.head_width)
    window = next((view.window for view in arch.views if view.window), None)
    if window:
        writer.add_sliding_window(window)
    if arch.attention_cap:
        writer.add_attn_logit_softcapping(arch.attention_cap)
    if arch.logit_cap:
        writer.add_final_logit_softcapping(arch.logit_cap)
    if kind == "gptneox":
        writer.add_parallel_residual(arch.residual == "parallel")
    words = [*WORDS, *[f"<{i}>" for i in range(arch.vocab_size - len(WORDS))]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([3 if word.startswith("<") else 1 for word in words])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(28)
    for add in more:
        add(writer)
    number = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == kind)
    table = gguf.get_tensor_name_map(number, arch.num_layers)
    prefix = NAMES[arch.family].prefix
    places = {t.name if t.headed else prefix + t.name: (path, t) for path, t in tensors(arch).items()}
    for name, array in to_tensors(params, arch, True).items():
        path, tensor = places[name]
        other = "output.weight" if path == "vocabulary" else table.get_name(name, (".weight", ".bias"))
        assert other is not None, name
        writer.add_tensor(other, np.ascontiguousarray(_laid_out(array, path, tensor, arch, stored), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _laid_out(array, path, tensor, arch, stored):
    if stored.plus and path.endswith("norm.scale"):
        return array + stored.plus
    heads = arch.num_heads if ".query." in path else arch.num_kv_heads if ".key." in path else None
    if stored.paired and heads:
        return array.reshape(heads, 2, len(array) // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
    if tensor.heads > 1:
        parts = [taken(array, tensor._replace(part=i)) for i in range(3)]
        whole = np.concatenate(parts, -1)
        return whole.T if tensor.turned else whole
    return array.T if FAMILIES[arch.family].classes == "GPT2" and path.endswith("kernel") else array
