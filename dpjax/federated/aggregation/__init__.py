"""How clients' messages meet: masked, encrypted, randomised by their senders, robustly, or with some of them lost."""
