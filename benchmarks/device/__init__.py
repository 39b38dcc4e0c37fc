"""What dpjax costs on the device at hand: steps, sweeps, federated rounds, noise, memory; one command, bounded time."""
