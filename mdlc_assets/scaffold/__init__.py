"""A first declaration from data: look at it, propose, write it down, land the days."""
