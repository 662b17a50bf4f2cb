"""Tests mirror the packages of `proxy/`. What they share:

`fakes`       clocks and a `Fetch` that a test controls; the application without sockets
`listening`   the application behind a real socket, in the event loop of the test
`processes`   the real command in a process of its own
`providers`   fake providers over real sockets
`leaks`       what a process still holds after an exchange
`latency`     how long warm lists take, measured from a process of its own
`paths`       where files are that tests read
"""
