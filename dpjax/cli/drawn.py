"""What a data set looks like in a terminal: classes and their balance, pictures, texts, a row."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from dpjax.datasets.entries import Dataset

_SHADES = " ░▒▓█"


def balance(dataset: "Dataset", limit: int = 20):
    """The classes of a data set as a table, with their rows."""
    import numpy as np
    from rich.markup import escape
    from rich.table import Table

    train = np.bincount(dataset.train_labels, minlength=dataset.num_classes)
    test = np.bincount(dataset.test_labels, minlength=dataset.num_classes)
    table = Table("class", "", "train", "test", "share", box=None, title="class balance", title_justify="left")
    labels = np.arange(dataset.num_classes)
    if len(labels) > limit:
        labels = np.argsort(-train, kind="stable")[:limit]
    for label in labels:
        share = train[label] / train.sum()
        bar = "█" * round(24 * train[label] / train.max())
        table.add_row(escape(dataset.class_names[label]), bar, f"{train[label]:,}", f"{test[label]:,}", f"{share:.1%}")
    if dataset.num_classes > limit:
        table.add_row(f"… {dataset.num_classes - limit} more", "")
    return table


def pictures(dataset: "Dataset", width: int) -> str:
    """Draws the first image of each of the first classes side by side, as many as the terminal is wide."""
    import numpy as np

    rows = [int(np.argmax(dataset.train_labels == label)) for label in range(dataset.num_classes)]
    drawn = [_draw(dataset.train_inputs[row, ..., 0]) for row in rows]
    each = len(drawn[0][0])
    shown = max(1, (width + 2) // (each + 2))
    names = [dataset.class_names[dataset.train_labels[row]][:each].ljust(each) for row in rows]
    lines = [names[:shown], *zip(*drawn[:shown], strict=True)]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _draw(image: "np.ndarray") -> list[str]:
    import numpy as np

    if image.shape[0] > 16:  # a character is twice as high as wide: small images double columns, large ones halve rows
        image = image[: image.shape[0] // 2 * 2].reshape(-1, 2, image.shape[1]).mean(1)
    else:
        image = np.repeat(image, 2, axis=1)
    levels = np.clip(np.ceil(image * (len(_SHADES) - 1)), 0, len(_SHADES) - 1).astype(int)
    return ["".join(_SHADES[level] for level in row) for row in levels]


def texts(dataset: "Dataset", limit: int = 5, width: int = 60) -> str:
    import numpy as np

    shown = {"padding": "", "unknown": "�", "newline": "⏎", "space": " "}
    symbols = [shown.get(name, name) for name in dataset.class_names]
    lines = ["rows from all over train, and what comes next"]
    for row in np.linspace(0, len(dataset.train_labels) - 1, limit).astype(int):
        context = "".join(symbols[code] for code in dataset.train_inputs[row])[-width:]
        lines.append(f"  {context:>{width}} → {symbols[dataset.train_labels[row]]}")
    return "\n".join(lines)


def lengths(dataset: "Dataset") -> str:
    """Says how long the training texts are, in words, which no tokenizer is needed for."""
    import numpy as np

    columns = dataset.train_inputs.reshape(len(dataset.train_inputs), -1).T.tolist()
    lengths = []
    for column in columns:
        words = [len(text.split()) for text in column]
        quartiles = np.percentile(words, [0, 25, 50, 75, 100])
        lengths.append("{:,.0f}, {:,.0f}, {:,.0f}, {:,.0f}, {:,.0f}".format(*quartiles))
    return f"words of a text in train (least, quarter, half, three quarters, most): {'; '.join(lengths)}"


def documents(dataset: "Dataset", limit: int = 5, width: int = 72) -> str:
    import numpy as np

    lines = ["rows from all over train, and their class"]
    for row in np.linspace(0, len(dataset.train_labels) - 1, limit).astype(int):
        for text in dataset.train_inputs[row : row + 1].ravel().tolist():
            start = " ".join(text[: 4 * width].split())
            lines.append(f"  {start if len(start) <= width else start[: width - 1] + '…'}")
        lines.append(f"  → {dataset.class_names[dataset.train_labels[row]]}")
    return "\n".join(lines)


def first_row(dataset: "Dataset", limit: int = 20):
    from rich.table import Table

    row, label = dataset.train_inputs[0], dataset.class_names[dataset.train_labels[0]]
    table = Table("feature", "value", box=None, title=f"first row ({label})", title_justify="left")
    # Of one-hot columns only the one that is set says something.
    names = dataset.feature_names or [str(number) for number in range(len(row))]
    values = [(n, v) for n, v in zip(names, row, strict=True) if "=" not in n or v]
    for feature, value in values[:limit]:
        table.add_row(feature, f"{value:.3g}")
    if len(values) > limit:
        table.add_row(f"… {len(values) - limit} more", "")
    return table
