"""The optimisation inside methods: keys, the value v*, gradient descent."""
