"""Forward passes through part of a model: batches, cached prefixes, only the blocks above an edit."""
