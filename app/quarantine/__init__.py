"""What waits for a person: held objects, decisions about them, and mask rules that came of them.

`service` is the sender's side: it can hold and ask, and open nothing. `review` is the other side.
"""
