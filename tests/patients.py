"""A table as a clinic has it: visits of patients at hospitals, with categories, missing values and dates."""

import csv
import random
from pathlib import Path

NAMES = ("visit_id", "patient_id", "hospital", "date", "age", "sex", "smoker", "bmi", "pressure", "diagnosis")
HOSPITALS = ("North", "South", "East", "West", "Mitte", "Hill", "Lake", "Dale")


def write_patients(path: Path, rows: int = 5000, seed: int = 1) -> Path:
    """Writes a CSV whose diagnosis depends on age, build, smoking, blood pressure and sex.

    Args:
      path: of the file.
      rows: visits; a patient has three of them in the mean.
      seed: of all draws.
    """
    source = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(NAMES)
        for visit in range(1, rows + 1):
            age = min(max(source.gauss(55, 18), 0), 101)
            sex = source.choice("fm")
            smoker = source.choices(["never", "former", "current"], [5, 3, 2])[0]
            bmi, pressure = source.gauss(27, 5), source.gauss(130, 18) + 0.2 * (age - 55)
            risk = (age - 55) / 18 + 0.08 * (bmi - 27) + 1.2 * (smoker == "current") + 0.02 * (pressure - 130)
            ill = risk + 0.4 * (sex == "m") + source.gauss(0, 1) > 0.8
            day = f"20{source.randrange(18, 24)}-{source.randrange(1, 13):02d}-{source.randrange(1, 29):02d}"
            patient, hospital = f"P{source.randrange(rows // 3):05d}", source.choice(HOSPITALS)
            smoker = smoker if source.random() > 0.05 else ""
            shown = f"{bmi:.1f}" if source.random() > 0.1 else "NA"
            writer.writerow(
                [
                    visit,
                    patient,
                    hospital,
                    day,
                    round(age),
                    sex,
                    smoker,
                    shown,
                    round(pressure),
                    "pos" if ill else "neg",
                ]
            )
    return path
