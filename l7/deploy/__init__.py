"""What core creates in Swarm for itself: today the secrets of the installation's own PKI."""
