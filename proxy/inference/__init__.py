"""One call: request -> routing -> failover -> response. Imported at the first call, which saves 9 MiB until then."""
