"""Other people's editors as methods: their code runs in a process of its own, what it changed becomes a Delta."""
