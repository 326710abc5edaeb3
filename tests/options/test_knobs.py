"""What is derived from the knobs and the table of old flags: parsers that need no PyTorch, the docs' pages, option files."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from helpers import ROOT

from models import DISCRIMINATORS, FEATURE_NETS, GENERATORS
from models.config import Setup, knobs
from models.features import registry
from models.networks import layers, resnet_generator
from models.supervised import LEVELS, TASKS
from options import document, downstream_flags
from options.old_flags import OLD_FLAGS, OLD_VALUES
from options.parsing import PARSERS, flags_of
from options.test_options import parse_test
from options.train_options import parse_train, train_parser
from util.errors import UsageError
from util.run import RECIPE, environment, open_run, save_options

WRONG = {
    "train.py": ["--name", "x", "--netD", "nonsense"],
    "test.py": ["--no_such_flag"],
    "classify.py": ["--experiment", "table9"],
    "preprocess_masks.py": ["--median", "2"],
}


@pytest.mark.parametrize("flags", ["help", "wrong"])
@pytest.mark.parametrize("script", PARSERS)
def test_flags_are_read_without_pytorch(script, flags):
    """Help and mistakes come at once: a PyTorch that cannot be imported goes unnoticed."""
    argv = ["--help"] if flags == "help" else WRONG[script]
    code = (
        "import runpy, sys; sys.modules['torch'] = sys.modules['torchvision'] = None; "
        f"sys.argv = {[script, *argv]!r}; runpy.run_path({script!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == (0 if flags == "help" else 2), done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == (flags == "wrong")


def test_the_short_help_of_train_shows_what_a_newcomer_sets():
    parser = train_parser()
    short, long = parser.format_help(everything=False), parser.format_help(everything=True)
    basic = [action for action in parser.flags() if action.basic]
    assert 20 <= len(basic) <= 30 and len(parser.flags()) > 60
    for action in parser.flags():
        name = action.option_strings[0]
        assert re.search(rf"^  {name}\b", long, re.M), name
        assert bool(re.search(rf"^  {name}\b", short, re.M)) == action.basic, name


def test_choices_are_those_of_the_implementations():
    """Registries that need PyTorch, and the names by which parsers know them."""
    by_name = knobs()
    assert set(by_name["norm"].choices) == set(layers.NORMS)
    assert set(by_name["init_type"].choices) == set(layers.INITS)
    assert set(by_name["upsample"].choices) == set(resnet_generator.UPSAMPLERS)
    assert set(FEATURE_NETS) == set(registry.FEATURE_NETS)
    assert set(downstream_flags.DEFAULTS) == set(TASKS)
    assert downstream_flags.MIN_SIZE == 8 * 2 ** (LEVELS - 1)
    assert all(network.load().__name__ == network.name for network in (*GENERATORS.values(), *DISCRIMINATORS.values()))


@pytest.mark.parametrize("page", document.pages())
def test_the_docs_pages_are_not_stale(page):
    written = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert written == document.pages()[page], "run python -m options.document"


def test_the_table_of_defaults_shows_both_values():
    page = document.defaults_page()
    assert re.search(r"\| `--extend_colors` \| on \| off \|", page)
    assert all(f"| `--{name}` |" in page for name in knobs())


# ------------------------------------------------------------------ old flags


def test_every_replacement_is_a_flag_that_some_script_has():
    known = set().union(*(flags_of(script) for script in PARSERS))
    for old, entry in OLD_FLAGS.items():
        named = re.findall(r"--[A-Za-z][\w-]*", f"{entry.use} {entry.why}")
        assert set(named) <= known, old
        assert entry.use or entry.why, old
        assert any(old not in flags_of(script) for script in PARSERS), f"{old} is a flag of every script"
    for (flag, value), why in OLD_VALUES.items():
        actions = {action.option_strings[0]: action for action in train_parser().flags()}
        assert flag not in actions or value not in actions[flag].choices
        assert set(re.findall(r"--[A-Za-z][\w-]*", why)) <= known


@pytest.mark.parametrize(
    "script, argv, words",
    [
        ("train", ["--gpu_ids", "0,1"], ["--device", "torchrun"]),
        ("train", ["--no_flip"], ["--no-flip"]),
        ("train", ["--niter=100"], ["--n_epochs"]),
        ("train", ["--direction", "AtoB"], ["both directions"]),
        ("train", ["--model", "cycle_gan"], ["resnet_9blocks", "patch"]),
        ("train", ["--name", "x", "--netD", "basic"], ["patch"]),
        ("train", ["--batchsize", "4"], ["did you mean --batch_size?"]),
        ("train", ["--num_test", "4"], ["test.py"]),
        (
            "train",
            ["--gpu_ids", "0", "--load_size", "286", "--batchsize", "4"],
            ["--device", "--load_scale", "--batch_size"],
        ),
        ("train", ["--name", "x", "--continue_train=yes"], ["takes no value", "'yes'", "--no-continue_train"]),
        ("train", ["--name", "x", "--continue_train", "yes"], ["takes no value", "'yes'", "--no-continue_train"]),
        ("test", ["--direction", "AtoB"], ["StoR"]),
        ("test", ["--dataset_mode", "single"], ["--input"]),
        ("test", ["--device", "gpu"], ["cuda"]),
        ("test", ["--gpu_ids", "-1"], ["--device"]),
        ("test", ["--netG", "resnet_9blocks"], ["options.yaml"]),
        ("test", ["--lambda_gan", "2"], ["it is a flag of train.py"]),
        ("test", ["--phase", "tset"], ["did you mean test?"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_old_and_wrong_flags_are_answered(script, argv, words, capsys):
    with pytest.raises(SystemExit) as end:
        {"train": parse_train, "test": parse_test}[script](argv)
    said = capsys.readouterr().err
    assert end.value.code == 2 and all(word in said for word in words) and len(said.splitlines()) == 1


# ------------------------------------------------------------------ no name


def test_without_a_name_train_shows_how_to_start_and_what_there_is(tmp_path):
    with pytest.raises(UsageError, match=r"python train.py --name demo[^$]*no runs"):
        parse_train(["--checkpoints_dir", str(tmp_path)])
    save_run(tmp_path, "first")
    with pytest.raises(UsageError, match="first"):
        parse_train(["--checkpoints_dir", str(tmp_path)])


def test_without_a_name_test_takes_the_translator_that_was_written_last(tmp_path):
    where = ["--checkpoints_dir", str(tmp_path)]
    with pytest.raises(UsageError, match="no translators"):
        parse_test(where)
    for age, name in enumerate(("newest", "older")):
        file = save_run(tmp_path, name)
        set_age(file, age)
    set_age(save_run(tmp_path, "silnet", model="silnet"), -1)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "options.yaml").write_text("{")
    opt = parse_test(where)
    assert opt.name == ["newest"] and "name" not in opt.explicit
    assert parse_test([*where, "--name", "older"]).name == ["older"]


def save_run(checkpoints_dir, name: str, **options):
    folder = checkpoints_dir / name
    folder.mkdir()
    save_options(folder, {"model": "mshgan4", **options})
    return folder / "options.yaml"


def set_age(file, hours: float) -> None:
    os.utime(file, (1e9 - 3600 * hours,) * 2)


# ------------------------------------------------------------------ --options


def test_a_file_of_options_is_read_and_the_command_line_wins(tmp_path):
    file = tmp_path / "best.yaml"
    file.write_text("lr: 1e-4\nnetG: resnet_6blocks\nmask: false\n--ema: 0.5\nval_size: null\n")
    opt = parse_train(["--name", "x", "--options", str(file), "--ema", "0.25"])
    assert (opt.lr, opt.netG, opt.mask, opt.ema, opt.val_size) == (1e-4, "resnet_6blocks", False, 0.25, None)
    assert opt.explicit == ["ema", "lr", "mask", "name", "netG"] and not hasattr(opt, "options")
    assert parse_train([f"--options={file}", "--name", "x", "--mask"]).mask is True


@pytest.mark.parametrize("flags", [[], ["--paper"], ["--model", "silnet"], ["--no-mask", "--netD", "patch"]], ids=str)
def test_a_run_s_own_options_start_another_one_alike(tmp_path, flags):
    first = parse_train(["--name", "x", "--seed", "3", *flags])
    options = {
        key: value if isinstance(value, (int, float, type(None))) else str(value) for key, value in vars(first).items()
    }
    del options["explicit"]
    save_options(tmp_path, options | {"continue_train": True, "resolved": {"device": "cpu"}})
    second = parse_train(["--options", str(tmp_path / "options.yaml"), "--name", "y"])
    assert second.name == "y" and second.continue_train is False
    for key in vars(first).keys() - {"name", "explicit", "continue_train"}:
        assert getattr(second, key) == getattr(first, key), key


@pytest.mark.parametrize(
    "text, words",
    [
        ("learning_rate: 1", "no flag learning_rate"),
        ("batchsize: 1", "did you mean batch_size"),
        ("lr: 3", "lr '3' is not"),
        ("mask: 1", "neither true nor false"),
        ("netD: patches", "not one of"),
        ("lr: [1, 2]", "which no flag gives"),
        ("- lr", "holds no options"),
        ("lr: {", "cannot be read"),
        ("options: a.yaml", "no flag options"),
    ],
)
def test_mistakes_in_a_file_of_options(tmp_path, text, words):
    file = tmp_path / "options.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=re.escape(words)):
        parse_train(["--name", "x", "--options", str(file)])


# ------------------------------------------------------------------ runs that are continued


def test_what_may_change_says_where_and_how_often_and_never_what_is_computed():
    free = train_parser().may_change()
    assert {"n_epochs", "max_steps", "device", "num_workers", "save_freq", "dataroot", "amp"} <= free
    assert free.isdisjoint(set(knobs()) - {"amp"}) and free.isdisjoint(
        {"seed", "model", "paper", "split_by", "objects"}
    )


def test_a_run_of_another_recipe_is_refused_and_says_which_commit_made_it(tmp_path):
    options = {"lr": 0.1}
    for recipe in (None, RECIPE - 1, RECIPE + 1):
        stored = options | {"resolved": {"git_commit": "abc123"}} | ({"recipe": recipe} if recipe else {})
        (tmp_path / "options.yaml").write_text(yaml.safe_dump(stored))
        with pytest.raises(UsageError, match="abc123.*trains differently"):
            open_run(tmp_path, options, continue_train=True, may_change=())
    save_options(tmp_path, options)
    assert open_run(tmp_path, options, continue_train=True, may_change=())["lr"] == 0.1


def test_versions_are_those_of_the_imported_packages():
    import torch

    assert environment()["versions"]["torch"] == str(torch.__version__)


def test_setup_is_read_where_it_acts():
    """The knobs outside the networks and the objective are read as opt.NAME by what trains."""
    files = [*ROOT.glob("*.py"), *(ROOT / "util").rglob("*.py"), *(ROOT / "models").rglob("*.py")]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    for name in knobs(Setup):
        assert f"opt.{name}" in code, name
