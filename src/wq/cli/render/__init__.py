"""How rows from the server become text: pure functions, built-ins only, for every command pays their import."""
