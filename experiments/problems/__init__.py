"""What is learnt: a data set and a model, as one object of pure functions."""
