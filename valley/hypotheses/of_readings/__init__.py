"""Hypotheses that hold a run's edits against readings of the same models (`valley read`)."""
