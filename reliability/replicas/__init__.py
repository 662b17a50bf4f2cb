"""Three replicas with a shared store behind nginx, while everything around them is killed and stopped in turn."""
