import pytest

from pipeline.units import in_bytes, in_count, in_time


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (0.042, "0.042 s"),
        (9.9, "9.9 s"),
        (59.6, "60 s"),
        (99.6, "1.7 min"),
        (3600, "60 min"),
        (7200, "2 h"),
        (86_400, "24 h"),
        (864_000, "10 days"),
        (8.64e7, "1,000 days"),
    ],
)
def test_times_have_two_digits_and_a_unit_that_people_use(seconds: float, words: str) -> None:
    assert in_time(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 B"),
        (950, "950 B"),
        (999.6, "1 kB"),
        (1.25e9, "1.2 GB"),
        (34.6e9, "35 GB"),
        (512e9, "512 GB"),
        (3e18, "3,000 PB"),
    ],
)
def test_bytes_have_two_digits_and_decimal_units(number: float, words: str) -> None:
    assert in_bytes(number) == words


def test_long_counts_are_powers_of_ten() -> None:
    assert [in_count(number) for number in (1_000, 3_500_000, 1e8, 1.25e9)] == ["1,000", "3,500,000", "1e8", "1.2e9"]
