"""What happened before, scrape by scrape, and what rules would have done then.

`recording` is a file of scrapes, `past` asks a server for them, `run` runs the engine on them, `report` and `plot`
show what it decided.
"""
