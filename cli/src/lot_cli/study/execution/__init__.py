"""Running it: workers on this machine or jobs of Slurm."""
