"""Workers: the actors of each domain, and the engine that runs them."""
