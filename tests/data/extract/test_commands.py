"""dp3d-data extract and dp3d-data failures as a user types them."""

import pytest
from click.testing import CliRunner

import pipelines.extract
from pipelines.cli.data import main
from tests.data.extract.world import ball, make_world, predictor_of
from tests.data.hostile import BAD, gradient, make_bad
from tests.shared import ROOT


@pytest.fixture
def typed(tmp_path, monkeypatch):
    """Type a command in a folder with photographs; the network is the one that knows the answers."""
    monkeypatch.chdir(tmp_path)
    known = make_world(tmp_path / "photos", 5)
    ball().save(tmp_path / "ball.npz")
    monkeypatch.setattr(pipelines.extract, "network_of", lambda config: (predictor_of(known), "known", "digest"))
    monkeypatch.setattr(pipelines.extract, "require_own_template", lambda config, template: None)

    def run(line):
        return CliRunner().invoke(main, line.split(), catch_exceptions=False)

    return run


def test_extract_says_what_it_understood_and_accounts_for_every_image(typed):
    result = typed("extract --images photos --template ball.npz --out out")
    assert result.exit_code == 0, result.output
    assert "dog: 5 images · model known · 1 worker · fingerprint " in result.output
    assert "5/5" in result.output
    assert "kept 5 instances of 4 images · rejected 1 (nothing found 1) · failed 0" in result.output
    assert "5 images = 4 with instances + 1 without + 0 failed" in result.output
    assert "written to out · next: dp3d-data build-shards" in result.output


def test_a_second_time_there_is_nothing_to_do(typed):
    typed("extract --images photos --template ball.npz --out out")
    assert "finished before; nothing to do" in typed("extract --images photos --template ball.npz --out out").output
    assert "nothing to do" not in typed("extract --images photos --template ball.npz --out out --overwrite").output


def test_files_that_a_shell_expanded_are_one_clear_error(typed):
    result = typed("extract --template ball.npz --out out --images photos/000.png photos/001.png photos/002.png")
    assert result.exit_code == 2 and "a pattern in quotes" in result.output and "photos/001.png" in result.output


def test_failures_are_read_back(typed, tmp_path):
    gradient().save(tmp_path / "photos/plain.jpg")
    gradient().convert("L").save(tmp_path / "photos/grey.png")
    make_bad(tmp_path / "photos")
    assert (
        f"failed {len(BAD)} (dp3d-data failures)"
        in typed("extract --images photos --template ball.npz --out out").output
    )
    result = typed("failures out --rejects")
    assert (
        f"{len(BAD) - 1} failed · read: InputCorrupt" in result.output
        and "1 failed · read: InputMissing" in result.output
    )
    assert "  empty.jpg · read: InputCorrupt\n      the file is empty" in result.output
    assert "3 rejected · nothing found" in result.output
    assert f"{len(BAD)} failed of {5 + 2 + len(BAD)} images in out" in result.output
    assert f"and {len(BAD) - 1} more: --limit 0" in typed("failures out --limit 1").output


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("extract --images photo", 3, "did you mean"),
        ("extract --images empty", 12, "no image in empty"),
        ("extract --images photos --category dgo", 2, "did you mean 'dog'?"),
        ("extract --images photos --category horse", 2, "no built-in template for 'horse'"),
        ("extract --images photos --template ball.npz --boxes none.csv", 3, "no such file of boxes"),
        ("extract --images photos --template none.npz", 3, "none.npz"),
        ("extract --score 2", 5, "out of range"),
        ("failures nowhere", 3, "no run.json here"),
    ],
)
def test_mistakes_end_with_their_code_and_a_way_out(typed, tmp_path, line, code, text):
    (tmp_path / "empty").mkdir()
    result = typed(line)
    assert result.exit_code == code, result.output
    assert text in result.output and "Traceback" not in result.output


def test_other_settings_is_refused(typed):
    typed("extract --images photos --template ball.npz --out out")
    result = typed("extract --images photos --template ball.npz --out out --score 0.85")
    assert result.exit_code == 8 and "--overwrite" in result.output


def test_a_run_that_keeps_nothing_says_so_and_names_no_next_command(typed, tmp_path):
    (tmp_path / "bad").mkdir()
    for number in range(3):
        (tmp_path / f"bad/{number}.jpg").write_text("no image")
    result = typed("extract --images bad --template ball.npz --out out")
    assert result.exit_code == 12 and "next: build-shards" not in result.output
    assert (
        "no instance was kept\n  got: 3 inputs, 3 of them failed\n  hint: dp3d-data failures out says why"
        in result.output
    )


def test_weights_and_a_template_of_another_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = ROOT / "dp3d_data/detection/data/animals-3.pth"
    for words in (f"--weights {weights} --template cow", "--template cow", "--model animals-3 --template cow"):
        result = CliRunner().invoke(main, ["extract", "--out", "out", *words.split()])
        assert result.exit_code == 6, result.output
        assert "do not belong together" in result.output and "dp3d-data template adopt MESH" in result.output
    assert not (tmp_path / "out").exists()
