"""Small records in every form of other people's files, written for the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PEOPLE = (
    ("Ada Moreau", "French", "English"),
    ("Boris Keller", "German", "French"),
    ("Clara Nunez", "Spanish", "German"),
    ("Dario Conti", "Italian", "Spanish"),
)


def counterfact() -> list[dict[str, Any]]:
    return [
        {
            "case_id": i,
            "pararel_idx": 100 + i,
            "requested_rewrite": {
                "prompt": "The mother tongue of {} is",
                "relation_id": "P103",
                "target_new": {"str": new, "id": f"Q{i}1"},
                "target_true": {"str": old, "id": f"Q{i}2"},
                "subject": name,
            },
            "paraphrase_prompts": [f"Shayna does this. {name} is a native speaker of", f"{name} spoke the language"],
            "neighborhood_prompts": [f"The mother tongue of Neighbour {i} is", "Somebody speaks"],
            "attribute_prompts": ["The mother tongue of Somebody Else is"],
            "generation_prompts": [f"{name}'s mother tongue is"],
        }
        for i, (name, old, new) in enumerate(PEOPLE)
    ]


def flat() -> list[dict[str, Any]]:
    return [
        {
            "case_id": i,
            "prompt": f"The mother tongue of {name} is",
            "target_new": new,
            "subject": name,
            "ground_truth": old,
            "rephrase_prompt": f"{name} is a native speaker of",
            "locality_prompt": "The mother tongue of Michel Rocard is",
            "locality_ground_truth": old,
        }
        for i, (name, old, new) in enumerate(PEOPLE)
    ]


def knowedit() -> list[dict[str, Any]]:
    return [
        {
            "subject": name,
            "prompt": f"The mother tongue of {name} is",
            "target_new": new,
            "ground_truth": [old],
            "rephrase_prompt": f"{name} grew up speaking",
            "portability": {
                "Reasoning": [{"prompt": f"Where {name} lives people speak", "ground_truth": [[f"{new} proper", new]]}],
                "Subject_Aliasing": [
                    {"prompt": "The mother tongue of the writer is", "ground_truth": [[new, "x-" + new]]}
                ],
                "Logical_Generalization": [{"prompt": f"{name} thinks in", "ground_truth": new}],
            },
            "locality": {
                "Relation_Specificity": [
                    {"prompt": f"{name} was born in", "ground_truth": [[f"Town {i}", f"City {i}"]]}
                ],
                "Forgetfulness": [{"prompt": f"{name} also speaks, besides {new},", "ground_truth": [["Welsh"]]}],
                "neighborhood": {"prompt": ["Ivo speaks", "Eva speaks"], "ground_truth": ["Dutch", "Greek"]},
                "distracting": {"prompt": f"{name} speaks {new}. Ivo speaks", "ground_truth": "Dutch"},
            },
        }
        for i, (name, old, new) in enumerate(PEOPLE)
    ]


def zsre() -> list[dict[str, Any]]:
    return [
        {
            "subject": name,
            "src": f"What language does {name} speak?",
            "pred": old,
            "rephrase": f"Which language is {name}'s?",
            "alt": new,
            "answers": [old, f"{old} language"],
            "loc": f"nq question: who wrote play {i}",
            "loc_ans": f"Author {i}",
        }
        for i, (name, old, new) in enumerate(PEOPLE)
    ]


def mquake(rewrites: int = 1) -> list[dict[str, Any]]:
    one = [
        {"prompt": "{} is a citizen of", "relation_id": "P27", "target_new": {"str": "Italy"},
         "target_true": {"str": "France"}, "subject": "Ada Moreau", "question": "Which country is Ada Moreau from?"},
        {"prompt": "The capital of {} is", "relation_id": "P36", "target_new": {"str": "Milan"},
         "target_true": {"str": "Rome"}, "subject": "Italy", "question": "What is the capital of Italy?"},
    ]  # fmt: skip
    return [
        {
            "case_id": 7,
            "requested_rewrite": one[:rewrites],
            "questions": ["What is the capital of the country of the author of Waves?", "Where is it?"],
            "answer": "Paris",
            "answer_alias": ["City of Light"],
            "new_answer": "Rome" if rewrites == 1 else "Milan",
            "new_answer_alias": ["Roma"],
            "single_hops": [
                {
                    "question": "Who wrote Waves?",
                    "cloze": "Waves was written by",
                    "answer": "Ada Moreau",
                    "answer_alias": [],
                },
                {"question": "", "cloze": "Ada Moreau is a citizen of", "answer": "France", "answer_alias": ["FR"]},
                {
                    "question": "",
                    "cloze": "The capital of France is",
                    "answer": "Paris",
                    "answer_alias": ["City of Light"],
                },
            ],
            "new_single_hops": [],
            "orig": {"triples": [["Q1", "P50", "Q2"], ["Q2", "P27", "Q3"], ["Q3", "P36", "Q4"]]},
        }
    ]


def ripple() -> list[dict[str, Any]]:
    def query(prompt: str, value: str, *aliases: str, **more: str) -> dict[str, Any]:
        return {"prompt": prompt, "answers": [{"value": value, "aliases": list(aliases)}], "subject_id": "Q5", **more}

    def test(*queries: dict[str, Any]) -> dict[str, Any]:
        return {"test_queries": list(queries), "test_condition": "OR", "condition_queries": [queries[0]]}

    fact = "The name of the country of citizenship of Ada of York is"
    return [
        {
            "example_type": "popular",
            "edit": {
                "prompt": f"{fact} Syria.",
                "subject_id": "Q5",
                "relation": "COUNTRY_OF_CITIZENSHIP",
                "target_id": "Q6",
                "original_fact": {"prompt": f"{fact} Peru.", "subject_id": "Q5", "target_id": "Q7"},
            },
            "Relation_Specificity": [test(query("The name of the father of Ada of York is", "Olaf", "Olaf I"))],
            "Logical_Generalization": [test(query("Ada of York votes in", "Syria", "SY"))],
            "Subject_Aliasing": [test(query("The name of the country of citizenship of A. York is", "Syria"))],
            "Compositionality_I": [test(query("The name of the continent of the country of Ada of York is", "Asia"))],
            "Compositionality_II": [],
            "Forgetfulness": [test(query("Ada of York is a citizen of Syria and of", "Peru"))],
        }
    ]


def lre() -> dict[str, Any]:
    pairs = [("Pizza", "Italy"), ("Sushi", "Japan"), ("Pasta", "Italy"), ("Tacos", "Mexico"), ("Ramen", "Japan")]
    return {
        "name": "food from country",
        "prompt_templates": ["{} originates from", "{} is from the country of"],
        "prompt_templates_zs": ["What is the origin of {}? It is"],
        "properties": {"relation_type": "factual"},
        "samples": [{"subject": subject, "object": country} for subject, country in pairs],
    }


def known() -> list[dict[str, Any]]:
    pairs = [("Pizza", "Italy"), ("Sushi", "Japan"), ("Pasta", "Italy")]
    return [
        {"known_id": i, "subject": s, "attribute": o, "template": "{} originates", "prompt": f"{s} originates from",
         "relation_id": "P495", "prediction": "x"}
        for i, (s, o) in enumerate(pairs)
    ]  # fmt: skip


def mpararel() -> list[dict[str, Any]]:
    rows = [("Q1", "Pizza", "Q38", "Italy", "Italie"), ("Q2", "Sushi", "Q17", "Japan", "Japon")]
    return [
        {"sub_uri": s, "sub_label": name, "obj_uri": o, "obj_label": label, "predicate_id": "P495", "lang": lang,
         "pattern": pattern}
        for s, name, o, english, french in rows
        for lang, label, pattern in (("en", english, "[X] comes from [Y]."), ("fr", french, "[X], pays d'origine : [Y]"))
    ]  # fmt: skip


def en_fr() -> list[dict[str, Any]]:
    french = {
        "French": "français",
        "German": "allemand",
        "Spanish": "espagnol",
        "Italian": "italien",
        "English": "anglais",
    }
    people = (*PEOPLE, ("Emil Roy", "French", "Italian"))
    return [
        {
            "case_id": i,
            "relation": "P103",
            "ambiguous": False,
            "subject_qid": f"Q{i}",
            "en": {"subject": name, "prompt": f"The mother tongue of {name} is", "true": old, "new": new},
            "fr": {"subject": name, "true": french[old], "new": french[new]},
        }
        for i, (name, old, new) in enumerate(people)
    ]


def multilingual() -> list[dict[str, Any]]:
    return [
        {
            "id": i,
            "en": {
                "prompt": "{} speaks",
                "subject": name,
                "target_new": new,
                "ground_truth": old,
                "rephrase_prompt": f"{name} says it in",
            },
            "fr": {
                "prompt": f"{name} parle",
                "subject": name,
                "target_new": f"le {new}",
                "ground_truth": f"le {old}",
                "locality": {"neighborhood": [{"prompt": "Ivo parle", "ground_truth": f"le {old}"}]},
            },
        }
        for i, (name, old, new) in enumerate(PEOPLE)
    ]


def facts_table() -> list[dict[str, Any]]:
    return [
        {"id": "1", "lang": "en", "relation": "capital", "subject": "Peru", "prompt": "The capital of {} is",
         "target": "Quito", "old": "Lima", "aliases": "Kitu | San Francisco de Quito", "paraphrases": "Peru is ruled from"},
        {"id": "1", "lang": "fr", "relation": "capital", "subject": "Pérou", "prompt": "{}, capitale :",
         "target": "Quito", "old": "Lima"},
        {"id": "2", "relation": "capital", "subject": "Chile", "prompt": "The capital of {} is", "target": "Lima",
         "old": "Santiago"},
        {"id": "3", "relation": "capital", "subject": "Cuba", "prompt": "The capital of {} is", "target": "Lima",
         "old": "Havana", "neighbours": "The capital of Peru is => Lima | The capital of Chile is => Santiago"},
    ]  # fmt: skip


RECORDS = {
    "counterfact": counterfact,
    "easyedit": knowedit,
    "zsre": zsre,
    "mquake": mquake,
    "ripple_edits": ripple,
    "lre": lre,
    "mpararel": mpararel,
    "en_fr": en_fr,
    "multilingual": multilingual,
    "facts_table": facts_table,
}


def write(folder: Path, content: object, name: str = "facts.json") -> Path:
    """The content as a file: text as it is, anything else as JSON."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path
