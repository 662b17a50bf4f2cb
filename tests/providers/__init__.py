"""Fake providers: servers on the loopback interface with handwritten HTTP/1.1. Which one to use:

| to test                                        | use                                                       |
|------------------------------------------------|-----------------------------------------------------------|
| a real process that fetches model lists        | `lists.FakeProviders`: a thread, so tests may block       |
| calls, step by step                            | `calls.fake_provider`: in the event loop of the test      |
| a recorded fault of a provider                 | `faults.playing`: plays a file of `recorded_faults/`      |
| speed, in a separate process (`benchmarks/`)   | `bulk_lists`, `bulk_calls`                                |
| lists without any HTTP                         | `tests.fakes.FakeFetch`                                   |

`server` contains what they share: a listening socket, received requests, and the bytes of responses. `scripted` is a
provider whose behavior is a function, with common scripts: `replies`, `hangs` ...
"""
