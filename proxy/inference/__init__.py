"""One call: request -> routing -> failover -> response. Loaded at the first call, which saves 9 MiB until then."""
