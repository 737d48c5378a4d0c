"""The router: known costs, fair queues, workers that must prove themselves.

The cost of an embeddings request is known before it is sent (its tokens), and its time is nearly
linear in it. So work waits in one central queue, organizations take turns by the tokens they were
given, large requests leave in shards, and each worker holds no more than a window of tokens.

    router.py ── one pool for each model: admit, dispatch, add, remove, drain
    └── pool.py ── the asyncio shell: clients, tasks, timers
        ├── dispatcher.py ── the synchronous core: what is sent where, and what an answer means
        │   ├── request.py, fair_queue.py, admission.py, placement.py
        │   ├── flights.py, hedges.py, retries.py, verification.py, endings.py
        │   └── roster.py, worker.py, speed.py, evidence.py, judge.py, quarantine.py
        └── door.py ── a worker's client, and when it is examined
            └── examination.py ── handshake, golden canaries, calibration
    discovery/ ── which workers there might be

The core never awaits and reads time from an injected clock, so that its accounting can't
interleave and a simulator can run it (`benchmarks/sim`).
"""
