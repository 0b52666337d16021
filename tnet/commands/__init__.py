"""Sub-commands of the ground floors; each module has one function `register(subparsers)`."""
