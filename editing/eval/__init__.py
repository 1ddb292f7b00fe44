"""What an edited model answers: log-probabilities, greedy text, drift."""
