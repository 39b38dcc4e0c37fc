"""A federation of real processes on Flower: one plan that all agree to, a server, and clients that keep their rows."""
