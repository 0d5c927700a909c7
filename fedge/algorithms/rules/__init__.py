"""Rules: make one vector (p,) from the admitted updates of a round, (n, p). One file a rule, with its
paper."""
