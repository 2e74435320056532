"""
Migrations of the queue's tables; run by L{lmrelay.queue.store.migrate}.
"""
