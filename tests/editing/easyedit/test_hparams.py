"""EasyEdit's hyper-parameter files: every number arrives where it acts, everything else is reported or refused in one
line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from editing.easyedit.hparams import Hparams, method_of, read_hparams
from editing.easyedit.keys import ALGORITHMS
from editing.easyedit.layers import site_of
from editing.errors import BadData
from editing.methods.base import Method
from editing.text.requests import EditRequest
from tests.editing.families import tiny_lm
from tests.tiers import fast_are

ROME = """
alg_name: "ROME"
model_name: "./somewhere/a-model"
stats_dir: "./data/stats"
device: 0
layers: [5]
fact_token: "subject_last"
v_num_grad_steps: 25
v_lr: 5e-1
v_loss_layer: 31
v_weight_decay: 1e-3
clamp_norm_factor: 4
kl_factor: 0.0625
mom2_adjustment: false
context_template_length_params: [[5, 10], [10, 10]]
rewrite_module_tmp: "model.layers.{}.mlp.down_proj"
mom2_dataset: "wikipedia"
"""
MEMIT = (
    ROME.replace('"ROME"', "MEMIT").replace("[5]\n", "[4, 5, 6, 7, 8]\n").replace("false", "true")
    + "mom2_update_weight: 15000\nlayer_selection: all\n"
)
FT = """
alg_name: "FT"
model_name: x
layers: [21]
num_steps: 25
batch_size: 1
lr: 5e-4
weight_decay: 0
kl_factor: 0
norm_constraint: false
objective_optimization: "prompt_last"
rewrite_module_tmp: "model.layers.{}.mlp.down_proj.weight"
"""
LORA = """
alg_name: LoRA
lora_type: "adalora"
layers: []
num_steps: 70
lr: 5e-3
rank: 8
lora_alpha: 32
lora_dropout: 0.1
target_modules: ["q_proj", "v_proj"]
"""
GRACE = """
alg_name: GRACE
inner_params:
- model.layers[27].mlp.down_proj.weight
edit_lr: 1.0
n_iter: 50
eps: 1.0
dist_fn: euc # euc, mmd, cos
val_init: cold
"""
ULTRA = """
alg_name: ULTRAEDIT
inner_params:
- model.layers.29.mlp.down_proj
- model.layers.30.mlp.down_proj
lr: 1e-6
token: mask
"""


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str, n_layers: int = 32) -> Hparams:
        path = tmp_path / "some.yaml"
        path.write_text(text, encoding="utf-8")
        return read_hparams(path, n_layers)

    return read


@pytest.fixture
def refused(read):
    def refused(text: str, n_layers: int = 32) -> str:
        with pytest.raises(BadData) as caught:
            read(text, n_layers)
        line = str(caught.value)
        assert "\n" not in line and "some.yaml" in line
        return line

    return refused


def blocks(method: Method, n_layers: int) -> list[int]:
    assert method.depth is not None
    return list(method._layers(n_layers, method.depth))


def reports(result: Hparams, *words: str) -> bool:
    return any(all(word in note for word in words) for note in result.notes)


def test_rome_takes_every_number_and_says_that_the_covariance_is_off(read) -> None:
    result = read(ROME)
    m = result.method
    assert m.name == "rome" and result.model_name == "./somewhere/a-model"
    expected = {"site": "mlp", "lookup": "subject_last", "steps": 25, "lr": 0.5, "weight_decay": 0.001, "clamp": 4}
    expected |= {"kl": 0.0625, "short_prefixes": 10, "long_prefixes": 10}
    assert expected.items() <= m.settings().items()
    assert isinstance(m.settings()["clamp"], float) and isinstance(m.settings()["steps"], int)
    assert blocks(m, 32) == [5] and reports(result, "layers [5] of 32", "depth")
    assert (
        result.corpus == "identity"
        and "covariance: identity, as the file says (mom2_adjustment: false)" in result.notes
    )
    assert reports(result, "no counterpart here", "stats_dir", "device", "mom2_dataset")
    on = read(ROME.replace("mom2_adjustment: false", "mom2_adjustment: true"))
    assert on.corpus is None and reports(on, "mom2_dataset: wikipedia") and not reports(on, "identity")
    assert read(ROME.replace('"ROME"', "R-ROME")).method.name == "r_rome"


def test_no_key_is_dropped_silently(read) -> None:
    result = read(ROME + "colour: red\nsplines: 3\n")
    assert reports(result, "no counterpart here", "colour", "splines")
    without = read("\n".join(line for line in ROME.splitlines() if not line.startswith("v_lr")))
    assert reports(without, "v_lr: not in the file", "lr stays 0.5")


def test_memit_emmet_pmet(read) -> None:
    result = read(MEMIT)
    assert result.method.name == "memit" and result.corpus is None
    assert {"covariance_weight": 15000.0, "prefixes": 5, "lr": 0.5}.items() <= result.method.settings().items()
    assert blocks(result.method, 32) == [4, 5, 6, 7, 8]
    assert not reports(result, "v_loss_layer") and reports(read(MEMIT, 40), "v_loss_layer: 31 of 40")
    assert reports(read(MEMIT.replace("mom2_adjustment: true", "mom2_adjustment: no")), "not read by")
    emmet = read(MEMIT.replace("alg_name: MEMIT", "alg_name: EMMET") + "emmet_lambda: 0.1\nupdate_norm_lambda: 2\n")
    # their lambda acts times the weight of the covariance
    assert emmet.method.settings()["slack"] == pytest.approx(1500.0) and reports(emmet, "update_norm_lambda: 2")
    pmet = read(MEMIT.replace("alg_name: MEMIT", "alg_name: PMET") + "nll_loss_factor: 1\n")
    assert pmet.method.settings()["covariance_weight"] == 15000.0 and not reports(pmet, "nll_loss_factor")
    assert reports(
        read(MEMIT.replace("alg_name: MEMIT", "alg_name: PMET") + "nll_loss_factor: 2\n"), "nll_loss_factor: 2"
    )


def test_alphaedit_keeps_its_absolute_numbers(read) -> None:
    text = (
        MEMIT.replace("alg_name: MEMIT", "alg_name: AlphaEdit") + "nullspace_threshold: 2e-2\nL2: 10\nP_loc: ./p.pt\n"
    )
    result = read(text)
    assert {"null_threshold": 0.02, "l2": 10.0, "units": "absolute"}.items() <= result.method.settings().items()
    assert reports(result, "no counterpart here", "P_loc")


def test_the_objective_decides_which_fine_tuning(read, refused) -> None:
    result = read(FT)
    assert result.method.name == "ft_l" and blocks(result.method, 32) == [21]
    assert {"units": "absolute", "lr": 5e-4, "bound": 0.0, "steps": 25}.items() <= result.method.settings().items()
    bounded = read(FT.replace("norm_constraint: false", "norm_constraint: 5e-5").replace("prompt_last", "target_new"))
    assert bounded.method.name == "ft_m" and bounded.method.settings()["bound"] == pytest.approx(5e-5)
    assert "objective_optimization: 'promptz_last'" in refused(FT.replace("prompt_last", "promptz_last"))
    assert "one block" in refused(FT.replace("[21]", "[0,31]"))
    assert "norm_constraint" in refused(FT.replace("norm_constraint: false", "norm_constraint: -1"))


def test_lora_grace_ultraedit_ike(read, refused) -> None:
    lora = read(LORA)
    assert {
        "site": "value",
        "rank": 8,
        "alpha": 32.0,
        "steps": 70,
        "lr": 5e-3,
    }.items() <= lora.method.settings().items()
    assert reports(lora, "q_proj", "not trained") and reports(lora, "adalora") and reports(lora, "lora_dropout: 0.1")
    some = read(LORA.replace("layers: []", "layers: [3, 4]"))
    assert blocks(some.method, 32) == [3, 4]
    both = read(LORA.replace('"q_proj"', '"down_proj"')).method.settings()
    assert (both["site"], both["more_sites"]) == ("mlp", "value")
    assert "target_modules" in refused(LORA.replace(', "v_proj"', ""))
    grace = read(GRACE)
    assert {
        "lookup": "last",
        "steps": 50,
        "lr": 1.0,
        "radius": 1.0,
        "stop_loss": 0.0,
    }.items() <= grace.method.settings().items()
    assert blocks(grace.method, 32) == [27] and reports(grace, "val_init: cold")
    assert "c_fc" in refused(GRACE.replace("down_proj", "c_fc")) and "euc" in refused(GRACE.replace(": euc", ": cos"))
    ultra = read(ULTRA)
    assert blocks(ultra.method, 32) == [29, 30] and ultra.corpus is None
    assert {
        "preset": "published",
        "rate": 1e-6,
        "units": "absolute",
        "warmup": 0,
    }.items() <= ultra.method.settings().items()
    assert "gate_proj does neither" in refused(ULTRA.replace("down_proj", "gate_proj"))
    ike = read("alg_name: IKE\nk: 16\nsentence_model_name: x\n")
    assert ike.method.name == "ike" and reports(ike, "k: 16") and reports(ike, "sentence_model_name")


@pytest.mark.parametrize("n_layers", fast_are([1, 2, 7], [1, 2, 7, 12, 32, 80]))
def test_the_depth_gives_exactly_the_blocks_of_the_file(read, n_layers: int) -> None:
    for last in range(n_layers):
        rome = read(ROME.replace("[5]\n", f"[{last}]\n"), n_layers).method
        assert blocks(rome, n_layers) == [last]
        for count in {1, 2, 5, last + 1} & set(range(1, last + 2)):
            expected = list(range(last - count + 1, last + 1))
            memit = read(MEMIT.replace("[4, 5, 6, 7, 8]", str(expected)), n_layers).method
            assert blocks(memit, n_layers) == expected


def test_the_placement_on_a_model_is_that_of_the_file(read) -> None:
    lm = tiny_lm("llama")
    layers = (lm.n_layers - 2, lm.n_layers - 1)
    result = read(MEMIT.replace("[4, 5, 6, 7, 8]", str(list(layers))), lm.n_layers)
    request = EditRequest("r", ("{} is",), "Brie", ("French",), lookup="last")
    place = result.method.placement(lm, request)
    assert (place.layers, place.site, place.lookup) == (layers, "mlp", "subject_last")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("v_lr: 5e-1", "v_lr: fast", "v_lr: 'fast'; it must be a number"),
        ("v_lr: 5e-1", "v_lr: null", "v_lr: None"),
        ("v_lr: 5e-1", "v_lr: no", "v_lr: False"),
        ("v_lr: 5e-1", "v_lr: .nan", "v_lr: nan"),
        ("v_lr: 5e-1", "v_lr: -0.5", "lr=-0.5"),
        ("v_num_grad_steps: 25", "v_num_grad_steps: 2.5", "v_num_grad_steps: 2.5; it must be a whole number"),
        ("layers: [5]", "layers: [32]", "0 to 31"),
        ("layers: [5]", "layers: [-1]", "0 to 31"),
        ("layers: [5]", "layers: [5, 6]", "one block"),
        ("layers: [5]", "layers: []", "at least one block"),
        ("layers: [5]", "layers: 5", "list of whole numbers"),
        ("layers: [5]", "", "layers: missing"),
        ("mom2_adjustment: false", "mom2_adjustment: 0", "true or false"),
        ("subject_last", "subject_first", "subject_last or last"),
        ("[[5, 10], [10, 10]]", "[[7, 10]]", "lengths 5 and 10"),
        ("[[5, 10], [10, 10]]", "[5, 10]", "[length, number]"),
        ("mlp.down_proj", "mlp.up_proj", "up_proj does neither"),
        ('alg_name: "ROME"', "alg_name: MEND", "alg_name: 'MEND'"),
        ('alg_name: "ROME"', "", "alg_name: missing"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(refused, old: str, new: str, said: str) -> None:
    assert old in ROME
    assert said in refused(ROME.replace(old, new))


def test_gaps_and_files_that_are_none(refused, tmp_path: Path) -> None:
    assert "next to each other" in refused(MEMIT.replace("[4, 5, 6, 7, 8]", "[4, 6, 8]"))
    assert "R-ROME" in refused("alg_name: [R-ROME]") and "mapping" in refused("- a\n- b\n")
    assert "the key 'a' stands twice" in refused("a: 1\na: 2")
    assert "not a YAML file" in refused("a: [1,\nb: {") and "mapping" in refused("")
    assert "enable_prompt_keys" in refused(ROME.replace('"ROME"', "R-ROME") + "enable_prompt_keys: true\n")
    with pytest.raises(BadData, match="cannot be read"):
        method_of(tmp_path / "none.yaml")


def test_sites_by_module_name() -> None:
    assert {site_of(m) for m in ("model.layers.{}.mlp.down_proj", "transformer.h.{}.mlp.c_proj.weight", "fc_out")} == {
        "mlp"
    }
    assert {site_of(m) for m in ("transformer.h.{}.attn.c_proj", "model.layers.{}.self_attn.o_proj")} == {"attn"}
    assert {site_of(m) for m in ("v_proj", "model.layers.*.self_attn.v_proj", "x.layers.*v_proj.*", "c_attn")} == {
        "value"
    }
    assert {site_of(m) for m in ("q_proj", "c_proj", "mlp.c_fc", "lm_head", "")} == {None}


def test_all_real_files() -> None:
    """Every file of the supported methods reads, or says in one line why not."""
    home = os.environ.get("EASYEDIT_HOME")
    if not home:
        pytest.skip("EASYEDIT_HOME does not name a checkout of EasyEdit")
    folders = ("ROME", "R-ROME", "MEMIT", "EMMET", "PMET", "AlphaEdit", "UltraEdit", "FT", "LoRA", "GRACE", "IKE")
    read_ones, refusals = [], []
    for path in [p for f in folders for p in sorted((Path(home) / "hparams" / f).glob("*.yaml"))]:
        try:
            result = read_hparams(path, 80)
        except BadData as error:
            assert str(path) in str(error) and "it must be" in str(error) and "\n" not in str(error)
            refusals.append(path)
            continue
        assert result.method.name in {*ALGORITHMS.values(), "ft_l", "ft_m"}
        assert result.notes
        read_ones.append(path)
    assert len(read_ones) > 90 and len(refusals) < 10, (len(read_ones), refusals)
    off = [p for p in read_ones if p.parent.name == "ROME" and read_hparams(p, 80).corpus == "identity"]
    assert len(off) == 14
