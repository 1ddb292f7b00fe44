"""Hypotheses about retargeting, one module each, judged with effect, interval and Holm's correction."""
