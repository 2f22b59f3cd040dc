"""The demonstration: a brand, a campaign and a crowd of phones, played over HTTP by outside clients."""
