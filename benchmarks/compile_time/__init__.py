"""What compiling a private step costs, beside the ordinary one, jax_privacy's, and another revision's."""
