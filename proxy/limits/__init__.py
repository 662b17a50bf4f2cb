"""How much callers use, counted in windows of time, and what they may use."""
