"""What a compiled program consists of."""

import re


def loops(program: str) -> list[str]:
    """The body of each loop that XLA has fused, without what its names tell: equal ones are compiled once."""
    bodies = dict(re.findall(r"^%([\w.-]+) (\(.*?^\})", program, re.MULTILINE | re.DOTALL))
    return [_nameless(bodies[name]) for name in re.findall(r" fusion\(.*calls=%([\w.-]+)", program)]


def _nameless(body: str) -> str:
    names: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return names.setdefault(found[0].removeprefix("%"), f"%{len(names)}")

    return re.sub(r"%?param_[\d.]+|%[\w.-]+", number, re.sub(r", metadata=\{[^}]*\}", "", body))
