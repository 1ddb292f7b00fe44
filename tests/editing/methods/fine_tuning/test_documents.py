"""Fine-tuning on documents: against PEFT and torch.optim, what is read, and what the planned edits bring."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model

from benchmarks.cases import cases_digest
from benchmarks.datasets import build_cases
from benchmarks.grown import RungSpec, make_corpus
from editing.errors import BadRequest
from editing.eval import continuation_logprobs
from editing.methods import make_method
from editing.model.language_model import LanguageModel
from editing.text.requests import EditRequest
from tests.editing.worked import REQUESTS, distance, model, session_statistics
from tests.tiers import fast_are

STATEMENTS = (("en", "Rome is the capital of France."), ("fr", "Rome est la capitale de la France."))
REQUEST = EditRequest("fact", ("The capital of {} is the city of",), "France", ("Rome",))


@pytest.mark.parametrize("family", fast_are(["gpt2"], ["gpt2", "llama"]))
def test_documents_equal_peft(family: str) -> None:
    """The mean, over documents, of transformers' own loss of each; PEFT's layers from the same start."""
    lm = model(family)
    statistics = session_statistics(lm)
    method = make_method(
        "documents", site="mlp", more_sites="", span=0.5, steps=4, rank=3, prefixes=2, lr=0.005, preset="published"
    )
    (delta,) = method.each(lm, [replace(REQUEST, documents=STATEMENTS)], statistics)
    sites = [lm.sites("mlp")[layer] for layer in (2, 3)]
    config = LoraConfig(r=3, lora_alpha=32, target_modules=[s.path for s in sites], fan_in_fan_out=sites[0].transposed)
    adapted = get_peft_model(copy.deepcopy(lm.module), config).eval()
    modules = [adapted.get_submodule(f"base_model.model.{s.path}") for s in sites]
    with torch.no_grad():
        for module, start in zip(modules, method.start(sites, REQUEST.id), strict=True):
            module.lora_A["default"].weight.copy_(start)
    texts = [text for _, text in STATEMENTS] + list(statistics.prefixes({10: 2}))
    optimiser = torch.optim.Adam([p for p in adapted.parameters() if p.requires_grad], lr=method.lr)
    for _ in range(method.steps):
        optimiser.zero_grad()
        losses = []
        for text in texts:
            ids = torch.tensor([lm.encode(text)])
            losses.append(adapted(input_ids=ids, labels=ids).loss)  # the prefix token is never predicted
        torch.stack(losses).mean().backward()
        optimiser.step()
    for site, module in zip(sites, modules, strict=True):
        literal = 32 / 3 * module.lora_B["default"].weight @ module.lora_A["default"].weight
        assert distance(delta.factors[site.weight].dense(), literal.detach()) < 2e-3, site.path


def test_what_is_read() -> None:
    method = make_method("documents")
    stated = replace(REQUEST, documents=STATEMENTS)
    assert method.texts(stated) == [text for _, text in STATEMENTS]
    assert make_method("documents", langs="own").texts(stated) == [STATEMENTS[0][1]]
    named = replace(REQUEST, documents=(("English", STATEMENTS[0][1]), ("français", STATEMENTS[1][1])))
    assert make_method("documents", langs="own").texts(named) == [STATEMENTS[0][1]]
    made = method.texts(REQUEST)
    assert len(made) == 8 and all("The capital of France is the city of Rome." in text for text in made)
    assert method.texts(REQUEST) == made  # the same every time
    several = method.texts(REQUESTS[3])
    assert any("sold by the baker." in text and "made from flour and milk." in text for text in several)
    assert all(text.startswith("La capitale") for text in method.texts(replace(REQUESTS[4], lang="it")))
    with pytest.raises(BadRequest, match="empty document"):
        replace(REQUEST, documents=(("en", " "),))


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"span": 2.0}, {"more_sites": "head"}])
def test_a_wrong_setting_is_that_of_the_method(wrong: dict) -> None:
    for name in ("lora", "documents"):
        with pytest.raises(BadRequest, match=f"method {name}: {next(iter(wrong))}"):
            make_method(name, **wrong)


def test_the_model_says_what_it_read(trained_lm: LanguageModel) -> None:
    statistics = session_statistics(trained_lm)
    (delta,) = make_method("documents", lr=0.01).each(trained_lm, [REQUEST], statistics)
    ((rome, paris),) = continuation_logprobs(trained_lm, REQUEST.filled(), [["Rome", "Paris"]], [delta])
    assert rome > paris


def test_training_ends_at_the_first_step_at_which_the_own_prompt_gives_its_target(trained_lm: LanguageModel) -> None:
    """The loss of the documents, most of whose tokens say nothing of the edit, is still far above `stop_loss` then."""
    statistics = session_statistics(trained_lm)

    def trained(steps: int, stop_loss: float) -> tuple[dict, float]:
        method = make_method("documents", lr=0.005, steps=steps, stop_loss=stop_loss)
        (delta,) = method.each(trained_lm, [REQUEST], statistics)
        ((said,),) = continuation_logprobs(trained_lm, REQUEST.filled(), [["Rome"]], [delta])
        return delta.provenance["optimiser"], -float(said) / len(trained_lm.tokenizer(" Rome")["input_ids"])

    ended, loss = trained(60, 0.3)
    assert 1 < ended["steps"] < 60 and loss < 0.3 < ended["loss"]
    _, before = trained(ended["steps"] - 1, 0.0)
    assert before >= 0.3


def test_planned_edits_bring_the_sentences_of_their_twin() -> None:
    """Together they are what the twin reads in place of the old text; cells of before keep their addresses."""
    spec = RungSpec("gpt2", 1, 64, edits=1, scope="both")
    plain, news = make_corpus(spec.world, spec.split), make_corpus(spec.world, spec.split, spec.news)
    new = {b.text for a, b in zip(plain.train, news.train, strict=True) if a.text != b.text}
    cases = [case for kind in ("fact", "rename", "retarget") for case in build_cases("planned_edits:1", kind)]
    documents = {text for case in cases for _, text in case.request.documents}
    assert documents == new and {lang for case in cases for lang, _ in case.request.documents} == {"en", "fr"}
    bare = [replace(case, request=replace(case.request, documents=())) for case in cases]
    assert cases_digest(bare) == cases_digest(cases)
