"""Tables of one's own: what each column holds, how it becomes numbers, and what of that was learnt from the rows."""
