"""Resources of the domain tenants: brands, members, invitations and their acceptance, assignments."""
