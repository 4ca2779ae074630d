"""Requests to the API and the reply of each, which must not change unnoticed.

`world.py` builds the project, `requests.py` lists the requests, `replies.txt` has one line per
reply. After an intended change, write them anew and review the difference:
`RECORD=1 uv run pytest tests/recorded`.
"""
