"""WordNet through nltk, where both are installed: definitions and siblings of a word. Without them, nothing."""

from __future__ import annotations

from importlib.util import find_spec


def look_up(word: str) -> tuple[list[str], list[str], str]:
    """Definitions of the commonest noun sense, its siblings (other names under the same broader word), and a line that
    says whether there was a dictionary."""
    if find_spec("nltk") is None:
        return [], [], "no dictionary: nltk is not installed"
    from nltk.corpus import wordnet  # pyright: ignore[reportMissingImports]

    try:
        senses = wordnet.synsets(word.replace(" ", "_"), pos=wordnet.NOUN)
    except LookupError:
        return [], [], "no dictionary: nltk has no WordNet data here (nltk.download('wordnet'))"
    if not senses:
        return [], [], f"the dictionary (WordNet) does not have {word!r}"
    sense = senses[0]
    broader = sense.hypernyms() + sense.instance_hypernyms()
    near = [other for one in broader for other in one.hyponyms() + one.instance_hyponyms() if other != sense]
    names = [other.lemmas()[0].name().replace("_", " ") for other in near]
    glosses = [gloss.partition(";")[0].strip() for gloss in (sense.definition(),)]
    texts = [gloss if gloss.startswith(("the ", "a ", "an ")) else f"the {gloss}" for gloss in glosses]
    return texts, names, f"definition and {len(names)} siblings from the dictionary (WordNet)"
