"""Step time of ordinary and private training, against jax_privacy and Opacus."""
