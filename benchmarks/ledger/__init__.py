"""What the ledger of budgets holds to, and what it costs: races, kills, edits, compositions, whole experiments."""
