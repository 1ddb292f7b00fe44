"""Methods that leave the weights alone: prompts, activation shifts, a codebook."""
