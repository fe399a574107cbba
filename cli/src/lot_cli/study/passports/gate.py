"""What stands between a study and its first run: every arm needs a passport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lot.errors import BadInput
from lot_cli.study.design.check_fairness import Findings
from lot_cli.study.design.file import Study
from lot_cli.study.design.passport import Passport
from lot_cli.study.design.plan import Arm
from lot_cli.study.passports.make import Passports, refuse
from lot_cli.study.passports.rules import take_in
from lot_cli.study.passports.store import save_passports
from lot_cli.study.result_file import FILE


def check_passports(
    study: Study,
    arms: Sequence[Arm],
    reference: str,
    found: Findings,
    passports: Passports,
    folder: Path,
    trials: Sequence[Mapping[str, Any]],
) -> None:
    """Make the passports of all arms, with every combination of tuned values in `trials`, and take them into `found`.

    Raises BadInput for an arm whose passport fails. A result that stands in the folder from before then gets no verdict
    for that arm: passport.json says why.
    """
    made = {arm.name: [passports.of(arm, values) for values in trials] for arm in arms}
    try:
        refuse(
            [
                (arm, made[arm.name][at], passports.may_leak(arm, values))
                for arm in arms
                for at, values in enumerate(trials)
            ]
        )
    except BadInput:
        if (folder / FILE).exists():
            save_passports({arm: _worst(table) for arm, table in made.items()}, folder)
        raise
    for at in range(len(trials)):
        take_in(study, {arm: table[at] for arm, table in made.items()}, reference, found)


def _worst(passports: Sequence[Passport]) -> Passport:
    """The passport of an arm that says most against it."""
    order = ("passed", "leak", "failed")
    return max(passports, key=lambda passport: order.index(passport.state))
