"""How sure a share is that was found on some of all cases."""

import math

Z = 1.96
"""Standard deviations of a normal distribution that leave 5 % outside."""


def wilson(mean: float, count: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927), of which the middle is drawn towards one half. Halves, as of
    ties, only make it wide: no values between 0 and 1 spread more than 0 and 1 themselves."""
    middle, spread = (mean + Z**2 / (2 * count)) / (1 + Z**2 / count), Z * wilson_error(mean, count)
    return max(middle - spread, 0.0), min(middle + spread, 1.0)


def wilson_error(mean: float, count: int) -> float:
    """Standard error of a share: half the width of that interval in deviations, so that it is not 0 at 0 or 1."""
    return math.sqrt(mean * (1 - mean) / count + (Z / (2 * count)) ** 2) / (1 + Z**2 / count)
