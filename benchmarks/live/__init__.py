"""One model, now: an edit, a sequence of edits, a retargeting."""
