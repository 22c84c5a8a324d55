"""Record the choices of a first fit, and repeat them."""

import pytest

from glta.training.choices import Unrepeatable, choices, current_choices


def ask(*numbers: float) -> list[float]:
    """Ask for a value for each number; only a first fit measures it."""
    made = current_choices()
    return [made.value(lambda number=number: [number])[0] for number in numbers]


def test_a_refit_gets_the_values_of_the_first_fit():
    with choices() as first:
        assert ask(3.0, 1.0) == [3.0, 1.0]
    with choices(first):
        assert ask(7.0, 8.0) == [3.0, 1.0]
    assert ask(7.0) == [7.0]


@pytest.mark.parametrize("numbers", [(), (1.0,), (1.0, 2.0, 3.0)])
def test_other_choices_cannot_be_repeated(numbers):
    with choices() as first:
        ask(1.0, 2.0)
    with pytest.raises(Unrepeatable, match=r"set recommend\.refit: false"), choices(first):
        ask(*numbers)


def test_trainings_are_repeated_by_their_numbers_of_epochs():
    with choices() as first:
        assert current_choices().next_epochs() is None
        first.epochs.extend([3, 0])
    with choices(first):
        assert [current_choices().next_epochs() for _ in range(2)] == [3, 0]
        with pytest.raises(Unrepeatable):
            current_choices().next_epochs()


def test_an_error_within_is_not_hidden():
    with choices() as first:
        ask(1.0)
    with pytest.raises(KeyError), choices(first):
        raise KeyError
