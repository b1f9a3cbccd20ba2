"""The study of attribute directions: the lines of its table."""

from metrics.images.move_effects import MoveEffect
from studies.attribute_directions import row, totals


def test_the_table_weighs_directions_by_their_moves() -> None:
    found = [MoveEffect("type=b", 4.5, 30, 0.5, 0.8, 0.1), MoveEffect("legs=a", 2.0, 10, 0.5, 0.4, 0.0)]
    assert row(found[0], 0.41) == "| type=b | 30 | 41% | 4.5 | 50% | 80% | 10% |"
    assert totals(found) == "Of 40 moves, 70.0% change the attribute and 7.5% the category."
