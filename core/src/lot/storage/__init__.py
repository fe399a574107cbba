"""What survives a crash: atomic files, checkpoints, shards, snapshots."""
