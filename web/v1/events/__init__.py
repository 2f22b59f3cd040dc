"""Resources of events: tickets, guest lists, check-ins and attendance."""
