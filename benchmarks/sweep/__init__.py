"""A sweep: plan, cells, schedule, store and the executors that run it."""
