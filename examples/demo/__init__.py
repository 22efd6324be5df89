"""``make demo``: l7 in front of a service that is scaled, updated and joined by another, under constant traffic."""
