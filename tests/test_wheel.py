"""The wheel, in a fresh environment and from another folder, runs the main job."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    words = ["wheel", "--no-deps", "-q", "-w", str(folder)]
    run(sys.executable, "-m", "pip", *words, str(ROOT))
    return next(folder.glob("*.whl"))


def run(*words, cwd=None):
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    words = [str(word) for word in words]
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_it_holds_what_the_program_reads(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for part in ("zoo_configs/", "zoo/presets/", "report/page.css", "py.typed"):
        assert any(part in name for name in names), part
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


def test_it_runs_elsewhere(wheel, tmp_path):
    """Packages that it needs are those of this environment; itself it is installed."""
    import venv

    place = tmp_path / "environment"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    site = Path(
        run(python, "-c", "import site; print(site.getsitepackages()[0])").strip()
    )
    words = ["install", "--no-deps", "--no-compile", "-q", "--target", str(site)]
    run(sys.executable, "-m", "pip", *words, str(wheel))
    (site / "needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    said = "import keras_lifelong; print(keras_lifelong.__file__)"
    assert str(site) in run(python, "-c", said, cwd=elsewhere)
    program = [python, "-m", "keras_lifelong"]
    listed = run(*program, "list", cwd=elsewhere)
    assert "none found" not in listed and "finetune/digits.yaml" in listed
    config = next(site.rglob("zoo_configs/finetune/digits.yaml"))
    quick = ["--set", "training.epochs=1", "--set", "stream.num_tasks=2"]
    run(
        *program,
        "run",
        "--config",
        config,
        "--output_dir",
        "out",
        *quick,
        cwd=elsewhere,
    )
    assert (elsewhere / "out" / "report.html").is_file()
    load = "import keras_lifelong as kl; kl.LifelongModel.from_preset('out/preset')"
    run(python, "-c", load, cwd=elsewhere)
