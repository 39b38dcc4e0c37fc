"""Files at rest whose content only the holder of a key can read, or change unnoticed. No JAX in here."""
