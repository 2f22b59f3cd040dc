"""Resources of the domain campaigns: campaigns, their life cycle and their printed codes."""
