"""Servers made of values, in memory and over loopback TCP, and the checks that nothing is left.

Read the modules in this order; each imports only those before it:

- `script`: what a server does, as values a person writes; no I/O.
- `recorded`: real servers' answers from files, as such values, cut as one likes.
- `memory_stream`: two ends of a byte stream with a window, FIN and RST, like TCP.
- `leaks`: is anything left: tasks, sockets, suspended async generators, warnings, pool slots?
- `server`: plays a script on a connection and keeps a record of it.
- `memory_network`: such a server underneath the real httpx, httpcore and h11, in virtual time.
- `loopback`: the same server behind a real socket, with or without TLS.
- `matrix`: runs a scenario once for every task step and disturbs it there.
"""
