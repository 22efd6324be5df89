"""What Docker Swarm says, as a typed cache that follows it: `watch.Watch` is the way in."""
