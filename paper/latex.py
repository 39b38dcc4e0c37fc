"""The PDF, where LaTeX is on the machine."""

import os
import shutil
import subprocess
from pathlib import Path

PACKAGES = "latexmk texlive-latex-base texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended lmodern"
"""Debian's packages that it takes."""


def build(folder: Path) -> Path | str:
    """Runs latexmk on ``main.tex`` in a folder that holds all that it reads.

    Guarantees: the same folder gives the same bytes, whenever it is run.

    Args:
      folder: with ``main.tex``.

    Returns:
      The PDF, or one sentence that says why there is none.
    """
    if shutil.which("latexmk") is None or shutil.which("pdflatex") is None:
        return f"no PDF: LaTeX is not on this machine; on Debian: apt-get install {PACKAGES}"
    # No date and no random name goes into the file.
    environment = os.environ | {"SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1"}
    command = ["latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-quiet", "-jobname=paper", "main.tex"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    pdf = folder / "paper.pdf"
    if done.returncode or not pdf.exists():
        log = folder / "paper.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else done.stderr.splitlines()
        first = next((line for line in lines if line.startswith("!")), "see the log")
        return f"no PDF: latexmk failed with '{first}' in {log}"
    return pdf
