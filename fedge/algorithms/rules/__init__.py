"""How the admitted updates of a round, (n, p), become one vector (p,): one rule a file, with its paper."""
