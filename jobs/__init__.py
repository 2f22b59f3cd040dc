"""Workers: the actors of each subject, and the engine that runs them."""
