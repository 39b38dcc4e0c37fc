"""Where keys are kept: a module for each kind of source."""
