"""Small upstream servers, their answers and a config.yaml: all that is needed to see the product at work."""
