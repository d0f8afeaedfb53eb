"""What a chunk, a request and an open stream cost, beside other clients: ``nox -s bench``.

Every client runs in a process of its own against a load server in another, all of them in turn,
several rounds; medians and ratios of one run stand beside each other. Nothing is compared across
runs: machines and their neighbours change, ratios hardly do. What a client read is checked each
time, so that nobody wins by doing less.

Read the modules in this order; each imports only those before it:

- `exchange`: what is asked, and what must be answered.
- `load_server`: gives such answers, as fast as the socket takes them.
- `clients`: one module for each client.
- `rows`: what is measured, and in which unit.
- `child`: measures one row of one client in a process of its own.
- `comparison`: runs such processes in turn and puts the results beside each other.
"""
