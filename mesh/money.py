"""Amounts of money as text. Money is whole nano-USD everywhere."""

NANO_USD_PER_USD = 1_000_000_000


def exact_usd(nano_usd: int) -> str:
    """Dollars with all nine decimals: "0.000001500"."""
    sign, whole = ("-" if nano_usd < 0 else ""), abs(nano_usd)
    return f"{sign}{whole // NANO_USD_PER_USD}.{whole % NANO_USD_PER_USD:09d}"
