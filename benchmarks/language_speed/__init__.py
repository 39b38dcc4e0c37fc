"""How fast a checkpoint is loaded, and how fast it writes, beside another revision."""
