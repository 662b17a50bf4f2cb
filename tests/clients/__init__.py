"""Real client programs against the real process, and fake providers.

They are not part of the README's test command, because they need system packages and about 1 GB from the npm
registry. `.ci/run` runs them. A missing component is a failure: no test is skipped.
"""
