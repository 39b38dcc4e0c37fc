"""A table whose label is a number: sales of houses by agents of towns, of which a price depends on size and place."""

import random
from pathlib import Path

PUBLIC = "{area: [0, 200], rooms: [0, 8], town: [a, b, c, d], agent: skip}"


def house_lines(rows: int = 400, seed: int = 1, agents: int = 50) -> list[str]:
    """Lines of a CSV without its names: area, rooms, town, agent, price."""
    source = random.Random(seed)
    lines = []
    for i in range(rows):
        area, room, town = source.uniform(20, 200), source.randrange(1, 7), source.choice("abcd")
        price = max(1.0, 2 * area + 10 * room + 30 * (town == "a") + source.gauss(0, 15))
        lines.append(f"{area:.1f},{room},{town},p{i % agents:02d},{price:.2f}")
    return lines


def write_houses(path: Path, lines: list[str] | None = None, **options: int) -> Path:
    """Writes the table.

    Args:
      path: of the file.
      lines: of it; None: those that ``house_lines`` makes.
      **options: of ``house_lines``.
    """
    path.write_text("\n".join(["area,rooms,town,agent,price", *(lines or house_lines(**options))]) + "\n")
    return path
