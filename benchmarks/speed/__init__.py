"""How fast the engine is, beside the literal way and beside EasyEdit."""
