"""An edit as a hook, in the weights and as a PEFT adapter loaded from disk: three realisations that give the same
logits."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from editing.delta import Codebook, Dense, LowRank, Shift, TokenShift
from editing.delta.delta import Delta, compose, delta_hooks
from editing.delta.peft_export import export_peft, truncated
from editing.errors import BadData, BadModel, BadRequest
from editing.eval import continuation_logprobs
from editing.methods import make_method
from editing.methods.vocabulary.head_rows import head_change
from editing.model import tied_head
from editing.model.hooks import hooked
from editing.model.language_model import LanguageModel
from tests.editing.families import tiny_lm
from tests.editing.worked import REQUESTS, session_statistics
from tests.tiers import fast_are

TEXT = "The capital of New Zealand is the city of Madrid and Brie comes from Italy"
# GPT-2 (Conv1D, fused QKV, tied head), Llama (own maps, untied), NeoX (interleaved QKV), Gemma 3 (scaled and tied
# embedding).
LAYOUTS = ("gpt2", "llama", "gpt_neox", "gemma3_text")


@pytest.fixture(scope="module", params=fast_are(["gpt2", "gemma3_text"], LAYOUTS))
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    return tiny_lm(request.param, spread=0.05)


@pytest.fixture(scope="module")
def base(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unedited model as a plain transformers folder."""
    folder = tmp_path_factory.mktemp("base")
    lm.module.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def deltas(lm: LanguageModel) -> dict[str, Delta]:
    statistics = session_statistics(lm)

    def one(name: str, request: int = 0, **settings) -> Delta:
        return make_method(name, steps=4, **settings).each(lm, [REQUESTS[request]], statistics)[0]

    few = {"short_prefixes": 1, "long_prefixes": 1, "depth": 0.5}
    result = {
        "rome": one("rome", **few),
        "rome at the values": one("rome", site="value", **few),
        "rome at the attention's output": one("rome", site="attn", **few),
        "memit": one("memit", prefixes=1, span=0.5),
        "lora": one("lora", prefixes=1, more_sites="mlp,attn"),
        "fine-tuning": one("ft_m", depth=0.5),
        "embedding": one("embedding", prefixes=1),
        "two rows": compose([one("embedding", prefixes=1), one("embedding", 4, prefixes=1)]),
    }
    result["all ranks"] = compose([result["rome"], result["memit"], result["lora"], one("rome", 3, **few)])
    result["maps and rows"] = compose([result["rome"], result["memit"], result["two rows"]])
    return result


KINDS = (
    "rome", "rome at the values", "rome at the attention's output", "memit", "lora", "fine-tuning", "embedding", "two rows",
    "all ranks", "maps and rows",
)  # fmt: skip


def answers(lm: LanguageModel, module: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module(input_ids=torch.tensor([lm.encode(TEXT)])).logits[0]


@pytest.mark.parametrize("kind", KINDS)
def test_three_realisations_agree(
    kind: str, lm: LanguageModel, base: Path, deltas: dict[str, Delta], tmp_path: Path
) -> None:
    delta, plain = deltas[kind], answers(lm, lm.module)
    with hooked(lm, delta_hooks(lm, [delta], [0])):
        as_hook = answers(lm, lm.module)
    with delta.applied(lm):
        in_weights = answers(lm, lm.module)
    export_peft(delta, lm, tmp_path / "adapter", tolerance=0.0)
    module = AutoModelForCausalLM.from_pretrained(base)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a missing or unexpected key is a warning in peft
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")  # both are changed, see below
        loaded = PeftModel.from_pretrained(module, tmp_path / "adapter").eval()
    as_adapter = answers(lm, loaded)
    bound = 2e-6 * max(1.0, float(in_weights.abs().max()))
    assert float((as_hook - in_weights).abs().max()) < bound
    assert float((as_adapter - in_weights).abs().max()) < bound
    assert float((plain - in_weights).abs().max()) > 50 * bound
    merged = answers(lm, loaded.merge_and_unload())
    assert float((merged - in_weights).abs().max()) < bound


@pytest.mark.parametrize("family", ["gpt2", "gemma3_text"])
def test_a_change_of_a_tied_head_alone_is_a_lora_of_the_head(family: str, tmp_path: Path) -> None:
    lm = tiny_lm(family, spread=0.05)
    assert tied_head(lm.module)
    draw = torch.Generator().manual_seed(0)
    left, right = 0.1 * torch.randn(2, 3, generator=draw), 0.1 * torch.randn(lm.d_model, 3, generator=draw)
    rename = Delta(head_change(lm, lm.encode(TEXT)[3:5], left, right))
    inside = make_method("rome", steps=2, short_prefixes=1, long_prefixes=1, depth=0.5)
    for name, delta in {
        "alone": rename,
        "with another": compose([rename, *inside.each(lm, REQUESTS[:1], session_statistics(lm))]),
    }.items():
        with delta.applied(lm):
            expected = answers(lm, lm.module)
        done = export_peft(delta, lm, tmp_path / name)
        assert done.ranks["lm_head"] == 3 and not done.rows
        lm.module.save_pretrained(tmp_path / "base")
        module = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        loaded = PeftModel.from_pretrained(module, tmp_path / name).eval()
        bound = 2e-6 * max(1.0, float(expected.abs().max()))
        assert float((answers(lm, loaded) - expected).abs().max()) < bound
        assert float((answers(lm, lm.module) - expected).abs().max()) > 50 * bound
    half = Delta(dict(rename.factors) | {n: c.scaled(0.5) for n, c in rename.factors.items() if n.endswith("output")})
    with pytest.raises(BadRequest, match="two kinds of change of one embedding"):
        export_peft(half, lm, tmp_path / "new")


def test_lm_evaluation_harness_reads_the_adapter(
    lm: LanguageModel, base: Path, deltas: dict[str, Delta], tmp_path: Path
) -> None:
    """Its log-likelihoods are ours, where it puts the same token before a text."""
    harness = pytest.importorskip("lm_eval.models.huggingface", reason="lm-evaluation-harness is not installed")
    instance = pytest.importorskip("lm_eval.api.instance")
    lm.tokenizer.save_pretrained(base)
    export_peft(deltas["rome"], lm, tmp_path / "adapter")
    prompt, answers = "The capital of France is the city of", ["Paris", "Rome", "bread"]
    for delta, adapter in (((), {}), ((deltas["rome"],), {"peft": str(tmp_path / "adapter")})):
        model = harness.HFLM(pretrained=str(base), device="cpu", dtype="float32", add_bos_token=True, **adapter)
        questions = [instance.Instance("loglikelihood", {}, (prompt, f" {a}"), i) for i, a in enumerate(answers)]
        theirs = [value for value, _ in model.loglikelihood(questions)]
        assert theirs == pytest.approx(list(continuation_logprobs(lm, [prompt], [answers], delta)[0]), abs=1e-3)


def test_what_is_written(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2")
    names = [s.weight for s in lm.sites("mlp")]
    site = lm.sites("mlp")[0]
    delta = Delta(
        {n: LowRank(torch.ones(site.d_out, r), torch.ones(site.d_in, r)) for n, r in zip(names, (1, 3), strict=False)}
    )
    done = export_peft(delta, lm, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    ranks = {"transformer.h.0.mlp.c_proj": 1, "transformer.h.1.mlp.c_proj": 3}
    assert done.ranks == config["rank_pattern"] == config["alpha_pattern"] == ranks
    assert config["r"] == config["lora_alpha"] == 3 and config["target_modules"] == sorted(ranks)
    assert config["fan_in_fan_out"] is True and not done.errors and not done.rows
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    export_peft(delta, lm, tmp_path)  # over itself


def test_a_dense_change_is_cut_where_the_tolerance_says() -> None:
    draw = torch.Generator().manual_seed(0)
    left, right = (
        torch.linalg.qr(torch.randn(30, 4, generator=draw))[0],
        torch.linalg.qr(torch.randn(20, 4, generator=draw))[0],
    )
    change = Dense(left @ torch.diag(torch.tensor([10.0, 3.0, 1.0, 0.01])) @ right.T)
    for tolerance, rank in ((0.5, 1), (0.15, 2), (0.01, 3), (1e-5, 4)):
        factors, error = truncated("w", change, tolerance, None)
        assert factors.rank == rank and error <= tolerance
        missing = (change.matrix - factors.dense()).norm() / change.matrix.norm()
        assert error == pytest.approx(float(missing), abs=1e-6)
    with pytest.raises(BadRequest, match=r"w: rank 1 misses 30\.\d% of this dense change, 1\.0% takes rank 3"):
        truncated("w", change, 0.01, 1)
    assert truncated("w", Dense(torch.zeros(3, 2)), 0.0, None)[0].dense().abs().max() == 0


def test_what_has_no_adapter_form_is_refused_in_one_line(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2")
    path, table = lm.sites("mlp")[1].path, "transformer.wte"
    vocabulary = lm.module.get_input_embeddings().weight.shape[0]
    cases = {
        "Shift is not a change of weights": Delta({f"{path}.output": Shift(torch.ones(32))}),
        "Codebook is not": Delta(
            {
                f"{path}.output": Codebook(
                    torch.ones(1, 128), torch.ones(1, 32), torch.ones(1), torch.ones(1, dtype=torch.long)
                )
            }
        ),
        "a text before the prompt": Delta({}, context="New fact: x."),
        "changes nothing": Delta({}),
        "spares the tied head": Delta({f"{table}.output": TokenShift(torch.tensor([3]), torch.ones(1, 32))}),
        "shares its weight": Delta({"lm_head.weight": LowRank(torch.ones(vocabulary, 1), torch.ones(32, 1))}),
        "trainable tokens take": Delta({"transformer.wpe.weight": LowRank(torch.eye(128)[:, :1], torch.ones(32, 1))}),
    }
    for match, delta in cases.items():
        with pytest.raises(BadRequest, match=match) as caught:
            export_peft(delta, lm, tmp_path / "new")
        assert "\n" not in str(caught.value) and not (tmp_path / "new").exists()
    for wrong in (
        {f"{path}.weight": LowRank(torch.ones(5, 1), torch.ones(7, 1))},
        {"model.layers.0.mlp.down_proj.weight": LowRank(torch.ones(5, 1), torch.ones(7, 1))},
    ):
        with pytest.raises(BadModel, match="another model"):
            export_peft(Delta(wrong), lm, tmp_path / "new")
    (tmp_path / "precious.txt").write_text("mine")
    fine = Delta({f"{path}.weight": LowRank(torch.ones(32, 1), torch.ones(128, 1))})
    with pytest.raises(BadRequest, match="delta 'x': not a Delta"):
        export_peft("x", lm, tmp_path / "new")  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadData, match="other files"):
        export_peft(fine, lm, tmp_path)
    with pytest.raises(BadData, match="is a file"):
        export_peft(fine, lm, tmp_path / "precious.txt")


def test_an_untied_row_edit_is_exported_where_the_head_is_its_own(tmp_path: Path) -> None:
    lm = tiny_lm("llama", spread=0.05)
    draw = torch.Generator().manual_seed(0)
    ids = torch.tensor([lm.encode(TEXT)[3], lm.encode(TEXT)[5], lm.encode(TEXT)[3]])
    shift = Delta({"model.embed_tokens.output": TokenShift(ids, torch.randn(3, 32, generator=draw))})
    with shift.applied(lm):
        expected = answers(lm, lm.module)
    done = export_peft(shift, lm, tmp_path / "adapter")
    assert done.rows == {"model.embed_tokens": tuple(sorted(set(ids.tolist())))}
    lm.module.save_pretrained(tmp_path / "base")
    loaded = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter"
    ).eval()
    assert torch.allclose(answers(lm, loaded), expected, atol=2e-6 * float(expected.abs().max()))


def test_rows_at_dose_0_are_no_change(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2")
    table, site = lm.module.get_input_embeddings().weight, lm.sites("mlp")[1]
    rows = Delta({"transformer.wte.weight": LowRank(torch.ones(len(table), 1), torch.ones(table.shape[1], 1))})
    with pytest.raises(BadRequest, match="this edit changes nothing; there is no adapter to write"):
        export_peft(rows.scaled(0), lm, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    low = Delta({site.weight: LowRank(torch.ones(site.d_out, 1), torch.ones(site.d_in, 1))})
    done = export_peft(compose([rows.scaled(0), low]), lm, tmp_path / "low")
    assert (dict(done.ranks), dict(done.rows)) == ({site.path: 1}, {})
