"""What a search looks through: ranks, arrangements of the modes, graphs; and moves between them."""
