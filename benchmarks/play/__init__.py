"""The playground: one edit after another, tried on a local web page. Everything but `page.py` works without Gradio."""

from benchmarks.play.serve import serve

__all__ = ["serve"]
