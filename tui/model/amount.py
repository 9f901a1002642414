"""Numbers in few characters, with their unit: counts, rates, bytes."""


def count(number: float) -> str:
    """Return a number in at most five characters: 7, 1,234, 12k, 3.4M."""
    if number < 10_000:
        return f"{number:,.0f}"
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
        if number < size * 1000:
            return (
                f"{number / size:.1f}{unit}"
                if number < size * 100
                else f"{number / size:.0f}{unit}"
            )
    return "many"


def rate(number: float | None) -> str:
    """Return a rate in at most four characters, with one decimal below ten."""
    if number is None:
        return "-"
    return f"{number:.1f}" if number < 9.95 else count(number)


def size(number: float) -> str:
    """Return bytes in at most five characters, in powers of 1024: 512B, 17M, 1.2G."""
    amount = float(number)
    for unit in "BKMGT":
        if amount < 1000 or unit == "T":
            short = f"{amount:.1f}" if amount < 9.95 and unit != "B" else f"{amount:.0f}"
            return f"{short}{unit}"
        amount /= 1024
    return ""
