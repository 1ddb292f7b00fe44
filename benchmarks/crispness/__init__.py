"""Crispness: how far one concept with two names is one thing inside a model, per layer, without an edit."""
