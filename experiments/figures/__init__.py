"""The figures: one module per chart, one for the style they share, one for the points they draw."""
