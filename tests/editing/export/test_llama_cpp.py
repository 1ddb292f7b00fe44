"""What is exported as GGUF, read and run by llama.cpp itself: the same logits as the edit in this program.

Needs llama.cpp's Python package (`pip install llama-cpp-python`, which compiles llama.cpp where there is no wheel). The
file of the tiny model is float32 throughout, and so are llama.cpp's keys and values here: what is left is rounding.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
import torch

from editing.delta import Delta, LowRank, Shift
from editing.delta.delta import delta_hooks
from editing.export import export_control_vector, export_gguf
from editing.export.steering import PROBE, logits_under
from editing.model.language_model import LanguageModel
from tests.editing.families import HEAD, HEADS, tiny_lm

llama_cpp = pytest.importorskip("llama_cpp", reason="llama.cpp's Python package is not installed")
gguf = pytest.importorskip("gguf")

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
FLOAT32 = 0  # GGML_TYPE_F32, of the keys and values that a context keeps


def rotary(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of a query or key map in llama.cpp's order: the two halves of each head turn by turn."""
    d_out, d_in = weight.shape
    return weight.reshape(heads, 2, d_out // heads // 2, d_in).transpose(1, 2).reshape(d_out, d_in)


def write_gguf(lm: LanguageModel, path: Path) -> None:
    """A tiny Llama in float32, without a tokenizer."""
    config, writer = lm.module.config, gguf.GGUFWriter(path, "llama")
    writer.add_block_count(lm.n_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, lm.n_layers)
    turned = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, values in lm.module.named_parameters():
        heads = turned.get(name.split(".")[-2])
        array = rotary(values.detach(), heads) if heads else values.detach()
        writer.add_tensor(names.get_name(name, (".weight",)), array.float().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits_of(file: Path, ids: list[int], vector: Path | None = None) -> torch.Tensor:
    """(T, vocabulary) logits by llama.cpp, under a control vector where one is given."""
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
    assert model, "llama.cpp did not load the file"
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = 256
    settings.n_threads = settings.n_threads_batch = 1
    settings.type_k = settings.type_v = FLOAT32
    settings.flash_attn_type = 0
    context = llama_cpp.llama_init_from_model(model, settings)
    size = llama_cpp.llama_model_n_embd(model)
    if vector is not None:
        # As llama.cpp's own loader lays them out: direction.N is row N - 1, added behind block N.
        rows = np.zeros((llama_cpp.llama_model_n_layer(model) - 1, size), dtype=np.float32)
        for tensor in gguf.GGUFReader(vector).tensors:
            rows[int(tensor.name.removeprefix("direction.")) - 1] = tensor.data
        start = rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        assert llama_cpp.llama_set_adapter_cvec(context, start, rows.size, size, 1, len(rows)) == 0
    batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
        batch.seq_id[i][0] = 0
    assert llama_cpp.llama_decode(context, batch) == 0
    width = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    out = np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), shape=(len(ids), width)).copy()
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return torch.from_numpy(out)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, Path]:
    lm = tiny_lm("llama", spread=0.05)
    assert lm.module.config.num_attention_heads == HEADS
    file = tmp_path_factory.mktemp("gguf") / "a.gguf"
    write_gguf(lm, file)
    return lm, file


def draw(*shape: int, seed: int) -> torch.Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_edited_weights(source, tmp_path: Path) -> None:
    lm, file = source
    low, value = lm.sites("mlp")[1], lm.sites("value")[0]
    delta = Delta(
        {
            low.weight: LowRank(draw(low.d_out, 2, seed=0), draw(low.d_in, 2, seed=1)),
            value.weight: LowRank(draw(value.d_out, 1, seed=2), draw(value.d_in, 1, seed=3)),
        }
    )
    export_gguf(delta, lm, file, tmp_path / "b.gguf")
    ids = lm.encode(PROBE)
    assert torch.allclose(logits_of(file, ids), logits_under(lm, []), **CLOSE)
    edited = logits_under(lm, delta_hooks(lm, [delta], [0]))
    assert torch.allclose(logits_of(tmp_path / "b.gguf", ids), edited, **CLOSE)
    assert float((edited - logits_under(lm, [])).abs().max()) > 100 * CLOSE["atol"]


def test_control_vector(source, tmp_path: Path) -> None:
    lm, file = source
    blocks = lm.layout.blocks
    delta = Delta({f"{blocks[i]}.output": Shift(draw(lm.d_model, seed=i)) for i in (1, 3)})
    export_control_vector(delta, lm, tmp_path / "v.gguf")
    steered = logits_under(lm, delta_hooks(lm, [delta], [0]))
    assert torch.allclose(logits_of(file, lm.encode(PROBE), tmp_path / "v.gguf"), steered, **CLOSE)
    assert float((steered - logits_under(lm, [])).abs().max()) > 100 * CLOSE["atol"]
