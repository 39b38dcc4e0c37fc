"""Tables for a paper: which cells, in which layout and words, set as text, Markdown, LaTeX or CSV."""
