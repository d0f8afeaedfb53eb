"""The soak: tens of thousands of short streams over a server that misbehaves.

``python -m tests.soak`` starts the server in a process of its own, runs the streams against it,
hundreds at once, prints a table, and fails unless everything is clean. What is said and done is
drawn from one seed. ``tests/soak/test_soak.py`` runs a few hundred streams of it in virtual time.

* `answers`: what the server says to which request, and how it breaks off;
* `program`: what the program does with a stream, and what must be true of its end;
* `leftovers`: what a process still holds when nothing is under way;
* `server`: the server's process;
* `report`: the table, and the verdict.
"""
