"""Files at rest that only the holder of a key can read, or change unnoticed. No JAX in here."""
