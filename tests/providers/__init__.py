"""Fake providers: real sockets on loopback, HTTP/1.1 bytes written by hand. Which one to use:

| to test                                        | use                                                       |
|------------------------------------------------|-----------------------------------------------------------|
| a real process that fetches model lists        | `lists.FakeProviders`: a thread, so tests may block       |
| calls, step by step                            | `calls.fake_provider`: in the event loop of the test      |
| a fault that a provider has shown              | `faults.playing`: plays a file of `recorded_faults/`      |
| speed, in a process of its own (`benchmarks/`) | `bulk_lists`, `bulk_calls`                                |
| lists without any HTTP                         | `tests.fakes.FakeFetch`                                   |

`server` is what they share: a listening socket, the requests that came in, the bytes of a response. `scripted` is a
provider whose behavior is a function, and the scripts that lists and calls have in common: `replies`, `hangs` ...
"""
