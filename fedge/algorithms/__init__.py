"""How a fleet learns: codecs, local algorithms, rules, and the plan that names them."""
