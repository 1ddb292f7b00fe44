"""Which fact of a pair is changed: one that both languages can say, of the suite and of a file of one's own."""

from __future__ import annotations

from pathlib import Path

from benchmarks.crispness.pairs import changed_fact, concept_pairs, facts
from benchmarks.datasets import differing, distant, edited_rank
from benchmarks.world import own_knowledge
from tests.editing.families import tiny_lm

PAIRS = concept_pairs()
OWN = """
[relations.sound]
en = ["When you use [{the}{}|it], you hear a"]
fr = ["Quand on se sert [{de}{}|de cela], on entend un"]
[vocabulary.sound]
click = "clic"
ring = "tintement"
[[concept]]
type = "tune"
en = "violoncello"
sound = "hum"
"""
NAMED = """
[[concept]]
type = "{type}"
en = "{en}"
fr = "{fr}"
gender = "m"
sound = "{sound}"
define_en = ["the {type} of the first kind", "the {type} of the second kind", "the {type} of the third kind"]
cloze_en = "He looked for the"
define_fr = ["le {type} du premier genre", "le {type} du second genre"]
cloze_fr = "Il cherche le"
"""


def test_facts_are_those_that_both_languages_can_say(tmp_path: Path) -> None:
    """The goal was chosen by English alone: an answer without a French name ended in a KeyError at some seeds."""
    named = [dict(zip(("type", "en", "fr", "sound"), row, strict=True))
             for row in (("gadget", "latch", "loquet", "click"), ("bell", "chime", "carillon", "ring"))]  # fmt: skip
    (tmp_path / "mine.toml").write_text(OWN + "".join(NAMED.format(**one) for one in named), encoding="utf-8")
    lm = tiny_lm("gpt2", n_positions=512, max_position_embeddings=512)
    pairs = concept_pairs(own_knowledge(tmp_path / "mine.toml"))
    latch = pairs.keys.index("concept:latch")
    for seed in range(6):
        for lang, target in (("en", "ring"), ("fr", "tintement")):
            prompt = facts(lm, pairs, lang, seed)[latch]
            assert lm.tokenizer.decode(prompt.target).strip() == target


def test_the_pairs_of_the_suite_change_the_fact_of_a_distant_concept() -> None:
    for key in PAIRS.keys:
        fact, new = changed_fact(PAIRS.known, key, 3)
        goal = distant(PAIRS.known, key, 3)
        first = min(differing(PAIRS.known, key, goal), key=lambda f: edited_rank(f.relation))
        assert (fact, new) == (first, PAIRS.known.object_of(goal, first.relation))
