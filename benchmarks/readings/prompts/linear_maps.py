"""Least squares for probes: a ridge regression onto one column per class, and its accuracy."""

from __future__ import annotations

import numpy as np

RIDGE = 0.1  # times the mean eigenvalue of the features' Gram matrix


def fit_classes(features: np.ndarray, labels: np.ndarray, classes: int, ridge: float = RIDGE) -> np.ndarray:
    """(d + 1, classes) weights, the last row the intercepts, of a linear classifier by regularised least squares onto
    one-hot labels (Rifkin, Yeo and Poggio 2003).

    Args:
        features: (n, d). labels: (n,) int below `classes`. ridge: scale-free, see RIDGE.
    """
    mean = features.mean(0)
    centred = features - mean
    onehot = np.eye(classes)[labels]
    share = onehot.mean(0)
    gram = centred @ centred.T  # (n, n): fewer examples than dimensions is the usual case
    penalty = ridge * max(np.trace(gram) / len(gram), 1e-12)
    weights = centred.T @ np.linalg.solve(gram + penalty * np.eye(len(gram)), onehot - share)
    return np.vstack([weights, share - mean @ weights])


def predict(weights: np.ndarray, features: np.ndarray) -> np.ndarray:
    """(n,) class of every row of features (n, d)."""
    return (features @ weights[:-1] + weights[-1]).argmax(1)


def most_telling(features: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """The k columns of features (n, d) with the largest ratio of variance between classes to variance within (the F
    statistic), as Gurnee et al. 2023, "Finding neurons in a haystack", rank neurons."""
    grand = features.mean(0)
    between, within = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for label in np.unique(labels):
        part = features[labels == label]
        between += len(part) * (part.mean(0) - grand) ** 2
        within += ((part - part.mean(0)) ** 2).sum(0)
    return np.argsort(-between / np.maximum(within, 1e-12), kind="stable")[:k]
