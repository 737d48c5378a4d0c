"""The router's shell against real worker processes that go wrong on purpose.

processes.py  fake workers: started, killed, stopped, made faulty
lab.py        a pool over them, clients that check every answer, and what was seen
scenarios.py  the faults, one function each
inputs.py     those that inputs cause
"""
