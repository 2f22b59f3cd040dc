"""Resources of the domain insights: the overview."""
