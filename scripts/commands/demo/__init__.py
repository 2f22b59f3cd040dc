"""The demonstration: create a brand with two campaigns and let simulated phones scan their codes over HTTP."""
