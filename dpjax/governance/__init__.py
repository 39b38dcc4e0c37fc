"""Budgets of sensitive data, shared by all who train on it, and a record of who did what. No JAX in here."""
