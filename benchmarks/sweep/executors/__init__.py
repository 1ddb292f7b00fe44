"""Who runs the parts of a plan: this process, several, Ray, SLURM; all over one run folder."""
