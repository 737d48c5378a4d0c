"""The router: known costs, fair queues, workers that must prove themselves.

The cost of an embeddings request (its tokens) is known before it is sent, and its time is nearly
linear in it. So work waits in one central queue, organizations take turns by the tokens they
received, large requests are sent in shards, and each worker holds no more than a window of tokens.

    router.py ── one pool for each model: admit, dispatch, add, remove, drain
    └── pool.py ── the asyncio shell: clients, tasks, timers
        ├── dispatcher.py ── the synchronous core: what is sent where, and what an answer means
        │   ├── request.py, fair_queue.py, admission.py, calls.py, endings.py
        │   ├── placement.py, ranking.py, gathering.py, retries.py, suspects.py
        │   ├── witnesses.py ── rows that ride along, and whom the answers disprove
        │   └── membership.py, quarantine.py, worker.py
        └── member.py ── a worker's client, and when it is examined
            └── examination.py ── handshake, golden canaries, calibration
    fleet.py ── a pool for each model of the catalog, with the workers that discovery/ finds

The core never awaits and reads time from an injected clock, so that its accounting can't
interleave and a simulator can run it (`benchmarks/sim`).
"""
