"""How does a number read, and where do the ticks of an axis stand?"""

from __future__ import annotations

import math

__all__ = ["count", "duration", "linear_ticks", "log_ticks", "percent", "percent_short", "short"]


def short(value: float) -> str:
    """Three significant digits: ``0.0312``, ``1,230``, ``1.2M``, ``1e-5``."""
    size = abs(value)
    if value == 0:
        return "0"
    if size < 1e-3 or size >= 1e15 * 0.9995:
        digits, _, exponent = f"{value:.2e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= unit * 0.9995:
            return _plain(value / min(unit, 1e3 if name == "k" else unit)) + name
    if size >= 999.5:
        return f"{value:,.0f}"
    return _plain(value)


def count(value: float) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,.0f}"


def percent(share: float) -> str:
    """``97.3 %``, with a digit more where it is small."""
    return f"{100 * share:.2f} %" if 0 < share < 0.01 else f"{100 * share:.1f} %"


def percent_short(share: float) -> str:
    """``97.3 %``, ``40 %``: for axes."""
    return f"{100 * share:.3g} %"


def duration(seconds: float) -> str:
    """``52 s``, ``12 min 4 s``, ``3 h 20 min``, ``2 d 4 h``."""
    left = round(seconds)
    sizes = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    parts: list[str] = []
    for size, unit in sizes:
        number, left = divmod(left, size)
        if number or parts or unit == "s":
            parts.append(f"{number} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 ") or len(parts) == 1)


def linear_ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Round numbers within [low, high], at most ``most`` + 1 of them."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((power * f for f in (1, 2, 2.5, 5) if power * f >= rough * 0.999), power * 10)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Powers of ten within [low, high], with 2 and 5 between them where there is room."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [f * 10.0**p for p in powers for f in factors]
        ticks = [t for t in ticks if low * 0.999 <= t <= high * 1.001]
        if len(ticks) <= most + 1:
            return ticks
    return ticks[:: math.ceil(len(ticks) / (most + 1))]


def _plain(value: float) -> str:
    text = f"{value:.3g}"
    return f"{float(text):g}"
