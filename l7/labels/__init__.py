"""The label language: what users write on their services, as a table, a grammar and a parser. Pure."""
