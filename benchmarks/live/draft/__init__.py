"""A concept file drafted for any words: definitions, sentences and siblings elicited from a model, each checked."""

from benchmarks.live.draft.draft import Draft, draft_concepts
from benchmarks.live.draft.writing import as_toml, format_draft, refuse_existing, write_draft

__all__ = ["Draft", "as_toml", "draft_concepts", "format_draft", "refuse_existing", "write_draft"]
