"""Tools of the repository: none of it is part of the program."""
