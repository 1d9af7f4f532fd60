"""Cases of the matrix that no other table has."""
from matrix_cases import Spec


def specs():
    return []
