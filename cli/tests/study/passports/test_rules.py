"""What a passport means for fairness and for verdicts, and how it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from invented_passport import behavior, check, part, passport
from invented_result import invented
from study_support import small

from lot.options.validate import structure, unstructure
from lot_cli.study.design.passport import Passport, check_command
from lot_cli.study.passports.rules import departures
from lot_cli.study.passports.store import Store, read_passports, save_passports
from lot_cli.study.passports.verdicts import reasons, recheck, void
from lot_cli.study.report.html import to_html
from lot_cli.study.report.markdown import to_markdown
from lot_cli.study.report.passports import BEFORE
from lot_cli.study.report.terminal import show
from lot_cli.study.report.wording import conclusion, verdict

FAILED = passport(part(checks=[check("ablation", "failed", why="it moves nothing")]))
LEAK = passport(part(checks=[check("causal: forward", "failed", leak=True)]))


def test_the_state_is_that_of_the_worst_check() -> None:
    assert passport(part()).state == "passed"
    assert LEAK.state == "leak"
    both = [check("causal: forward", "failed", leak=True), check("ablation", "failed")]
    assert passport(part(checks=both)).state == "failed"


def test_a_passport_is_its_plain_data() -> None:
    made = passport(part(), part(path="task", layer=None, kind="task"))
    assert structure(Passport, unstructure(made), "") == made


@pytest.mark.parametrize(
    ("facts", "path"),
    [
        ({"gradients": {"blocks.0.attention": 3.0}}, "gradients"),
        ({"gradients": {"embedding": 0.5}}, "gradients"),
        ({"state": {"seen": 4}, "acting": ["seen"]}, "state"),
        ({"state": {"seen": 20}}, "parameters"),
        ({"passes": 2}, "passes"),
        ({"objective": 2.5}, "objective"),
    ],
)
def test_what_is_paid_for_elsewhere_is_found(facts: dict[str, Any], path: str) -> None:
    found = list(departures(passport(part()), behavior(**facts), behavior(), 0.01))
    assert [rule for rule, _ in found] == [path]


@pytest.mark.parametrize(
    "facts",
    [
        {"gradients": {"blocks.0.attention": 1.2}},
        {"state": {"steps": 1}},
        {"objective": 0.8},
        {"unresolved": ["embedding"]},
    ],
)
def test_what_is_small_or_only_told_is_fair(facts: dict[str, Any]) -> None:
    assert list(departures(passport(part()), behavior(**facts), behavior(), 0.01)) == []


def test_an_estimate_that_is_declared_is_fair() -> None:
    declared = passport(part(declared={"straight_through": "rounding"}))
    facts = behavior(gradients={"blocks.0.attention": 3.0})
    assert list(departures(declared, facts, behavior(), 0.01)) == []


def test_only_arms_with_a_passport_get_a_verdict() -> None:
    result = invented()
    stands = {arm: passport(part()) for arm in result.arms}
    found = void(result.comparisons, reasons({**stands, "lattice": FAILED}, leaks=["wild"]))
    words = {(c.arm, verdict(c)) for c in found}
    assert words == {("lattice", "no passport: no verdict"), ("wild", "LEAK: no verdict")}
    lattice = next(c for c in found if c.arm == "lattice")
    assert "since the passport of lattice failed (attn, layer 0: ablation)" in conclusion(lattice)
    edited = void(result.comparisons, reasons(stands, leaks=(), edited=["vanilla"]))
    assert {c.verdict for c in edited} == {"no passport"}
    assert void(result.comparisons, reasons(stands, leaks=())) == result.comparisons


def test_a_passport_that_fails_later_takes_the_verdict_away() -> None:
    result = with_passports()
    assert recheck(result, None) == result
    assert recheck(result, {"lattice": passport(part())}) == result
    voided = recheck(result, {"lattice": FAILED, "gone": FAILED})
    assert {c.verdict for c in voided.comparisons if c.arm == "lattice"} == {"no passport"}
    assert voided.arms["lattice"].passport == FAILED
    assert "found after its runs were made" in voided.warnings[-1]


def test_every_report_shows_passports(capsys: pytest.CaptureFixture[str]) -> None:
    result = with_passports(
        part(inert=["alpha"], checks=[check("builds"), check("export", "skipped", why="no <need>")])
    )
    show(result)
    terminal = capsys.readouterr().out
    for text in (to_markdown(result), to_html(result), terminal):
        assert "passport" in text
        assert "alpha" in text
    for text in (to_markdown(result), to_html(result)):
        assert "lot plugins check lot-lattice:lattice" in text
        assert "declares without effect: alpha" in text.partition("What each arm is")[2]
    assert "no &lt;need&gt;" in to_html(result)


def test_a_result_from_before_passports_keeps_its_verdicts_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    result = invented()
    show(result)
    assert "better" in capsys.readouterr().out
    assert f"> Warning: {BEFORE}" in to_markdown(result)
    assert BEFORE in to_html(result)
    assert "## Passports" not in to_markdown(result)


def test_a_command_repeats_a_part() -> None:
    command = check_command(part(options={"coupling": 0.5, "shape": [2, 4], "path": "a b"}, around={"width": 8}))
    assert command == (
        "lot plugins check lot-lattice:lattice --kind attention --set attn.coupling=0.5 --set 'attn.shape=[2, 4]' "
        "--set 'attn.path=\"a b\"' --set dims.width=8"
    )
    assert "losses.sync.weight=1" in check_command(
        part(path="losses.mine:sync", layer=None, kind="loss", name="sync", options={"weight": 1})
    )


def test_what_is_kept_is_read_again_and_what_is_damaged_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    one = part()
    Store(tmp_path).put(one)
    assert Store(tmp_path).get(type(one), one.key) == one
    file = tmp_path / "cache" / "passports" / f"{one.key}.json"
    file.write_text(file.read_text().replace("passed", "failed"))
    assert Store(tmp_path).get(type(one), one.key) is None
    file.write_text("[]")
    assert Store(tmp_path).get(type(one), one.key) is None
    save_passports({"other": passport(one)}, tmp_path)
    assert Store(tmp_path).get(type(one), one.key) == one
    assert read_passports(tmp_path) == {"other": passport(one)}
    (tmp_path / "passport.json").write_text('{"format": 1, "arms": {"other": 3}}')
    assert read_passports(tmp_path) is None


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "file"))
    store = Store(tmp_path)
    store.put(part())
    assert store.get(type(part()), part().key) == part()


def test_code_that_is_edited_while_runs_are_made_takes_the_verdicts_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lot_tasks")
    from lot_cli.study.passports import part as module
    from lot_cli.study.procedure import conduct

    original, edited = module.source_digest, []

    def changing(name: str) -> str:
        return original(name) + ("edited" if edited else "")

    changing.cache_clear = original.cache_clear  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "source_digest", changing)
    study = small(seeds=2, tune=None, claims=None)
    result = conduct(study, tmp_path, device="cpu", tell=lambda event, _: edited.append(1) if event == "plan" else None)
    assert {c.verdict for c in result.comparisons} == {"no passport"}
    assert "edited while its runs were made" in result.comparisons[0].void


def with_passports(first: Any = None) -> Any:
    """The invented result, every arm with a passport; the first part is that of lattice."""
    result = invented()
    arms = {
        name: attrs.evolve(
            arm, passport=passport(first or part()) if name == "lattice" else passport(part(key="b" * 32))
        )
        for name, arm in result.arms.items()
    }
    return attrs.evolve(result, arms=arms)
