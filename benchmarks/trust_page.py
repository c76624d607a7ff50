"""`docs/trust.md`, made of what the benchmarks measured: nobody writes it by hand.

    python benchmarks/trust_page.py            # docs/trust.json -> docs/trust.md
    python benchmarks/trust_page.py collect    # counts the tests of each line anew

Each benchmark puts its numbers under a name into `docs/trust.json`; the words are here.
`tests/presets/test_trust_page.py` holds the page to both.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
DATA, PAGE = ROOT / "docs/trust.json", ROOT / "docs/trust.md"

# What must hold, and the tests that hold it: a file, or the beginning of ids.
_TRUST = "tests/presets/test_trust.py::"
LINES = {
    "Only what is listed is built": [
        *("tests/presets/test_graphs.py", "tests/presets/test_grammar.py"),
        *(_TRUST + "test_the_list", _TRUST + "test_what_is_not_listed"),
        *(_TRUST + "test_an_argument_names", _TRUST + "test_an_entry_says"),
    ],
    "Memory and time before refusal": [
        *("tests/presets/test_weights.py", _TRUST + "test_activations"),
        *(_TRUST + "test_json_is_counted", _TRUST + "test_a_file_of_very_many"),
        *(_TRUST + "test_building_takes", _TRUST + "test_a_recurrent_layer"),
        _TRUST + "test_what_was_refused_is_given",
        "tests/presets/test_many_layers.py",
    ],
    "Presets broken at random load or are refused": ["tests/presets/test_hostile.py"],
    "What is checked is what is used": [
        *(_TRUST + "test_a_file_is_read_once", _TRUST + "test_no_link"),
        *(_TRUST + "test_a_folder_that_is_a_link", _TRUST + "test_a_pipe"),
        _TRUST + "test_descriptors",
    ],
    "Text is text": [
        *(_TRUST + "test_a_card_of_evil_names", "tests/report/test_page.py"),
        _TRUST + "test_a_result_of_other_types",
    ],
    "Two at once": [
        *(_TRUST + "test_a_killed_save", _TRUST + "test_what_a_living_writer"),
        *(_TRUST + "test_other_directories", _TRUST + "test_a_reader_stays"),
        *(_TRUST + "test_a_preset_is_read", "tests/search/test_two_searches.py"),
        "tests/search/test_distributed.py",
    ],
    "A run knows its data; errors name the file": [
        *("tests/test_trust_files.py", "tests/test_faults.py"),
        *(_TRUST + "test_a_bad_lineage", _TRUST + "test_bad_metadata"),
    ],
    "Failed means unchanged": ["tests/test_interrupts.py"],
    "Hubs, kills and little room": [
        *("tests/presets/test_hubs.py", "tests/presets/test_hub_attacks.py"),
        *("tests/presets/test_limits.py", "tests/test_disks.py"),
    ],
    "Growth of cost": ["tests/model/test_testing.py", "tests/presets/test_growth.py"],
    "What is published is public, and works": [
        *(_TRUST + "test_paths_of_this_machine", _TRUST + "test_a_card_names"),
        *("tests/presets/test_presets.py", "tests/test_wheel.py"),
    ],
}


def record(path: str | pathlib.Path, name: str, content: Any) -> None:
    """Puts what a benchmark measured into the file of results, under its name."""
    path = pathlib.Path(path)
    found = json.loads(path.read_text()) if path.exists() else {}
    text = json.dumps({**found, name: content}, indent=1, sort_keys=True)
    path.write_text(text + "\n")


def page(found: dict[str, Any]) -> str:
    """The page of what was measured; a part that was not is said to be missing."""
    parts = [_HEAD]
    for name, write in _PARTS.items():
        content = found.get(name)
        parts.append(write(content) if content else f"Not measured yet: {name}.")
    parts += [_growth(found), _bounds()]
    return "\n\n".join(parts) + "\n"


def _table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = [["" if c is None else str(c) for c in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


_HEAD = """# What a stranger sends

Made by `benchmarks/trust_page.py` of `docs/trust.json`, which the scripts named here \
write; not to be edited. Measured on 2 CPU cores that did much other work as well."""


def _lines(counts: dict[str, int]) -> str:
    return "\n\n".join(
        [
            "## Tests of each line",
            _table(["what must hold", "tests"], [list(x) for x in counts.items()]),
        ]
    )


def _hostile(rows: list[list[Any]]) -> str:
    head = ["file", "here", "s", "MiB", "keras-hub", "s", "MiB", "Keras", "s", "MiB"]
    return "\n\n".join(
        [
            "## The same files, here, in keras-hub and in Keras",
            "`benchmarks/hostile_files.py`: one layer put into the network of a "
            "shipped preset, into the same network as a preset of keras-hub, and as a "
            "`.keras` file for `keras.saving.load_model(safe_mode=True)`.",
            _table(head, rows),
        ]
    )


def _grammar(found: dict[str, Any]) -> str:
    return (
        "## Presets from a grammar of Keras' configurations\n\n"
        "`benchmarks/grammar_presets.py` writes them and listens to every class or "
        "function that Keras looks up, every exported function that its reader calls, "
        "every file that is opened and every process that is started: one that is not "
        f"on the list ends it. {found['presets']:,} were written: "
        f"{found['refused']:,} refused, {found['loaded']:,} loaded, nothing off the "
        f"list{_looked_up(found)}; the slowest took "
        f"{found['seconds']} s of a processor, the process (TensorFlow included) "
        f"at most {found['mib']:,} MiB."
        + (
            ""
            if "looked_up" in found
            else " (Of these, calls of functions were not listened to yet.)"
        )
    )


def _looked_up(found: dict[str, Any]) -> str:
    number = found.get("looked_up")
    return "" if number is None else f" among {number:,} look-ups"


def _writers(found: dict[str, Any]) -> str:
    return (
        "## Two writers, two readers and a killer\n\n"
        f"`benchmarks/two_writers.py {found['minutes']:g}`, on one directory for so "
        f"many minutes: {found['saves']:,} saves, {found['loads']:,} loads and "
        f"{found['kills']:,} kills of a writer; presets lost: {found['lost']}, errors "
        f"of readers or writers: {found['errors']}, left beside the preset in the end: "
        f"{found['left']}."
    )


def _layers(rows: list[list[Any]]) -> str:
    return "\n\n".join(
        [
            "## Presets of many layers",
            "`benchmarks/preset_layers.py`: seconds of a processor until a preset is "
            "loaded or refused, the least of three. Those of a stranger store nothing "
            "for their layers, those of a user weights of eight units.",
            _table(["preset", "layers", "what came of it", "s"], rows),
        ]
    )


_PARTS = {
    "tests": _lines,
    "hostile_files": _hostile,
    "grammar": _grammar,
    "two_writers": _writers,
    "layers": _layers,
}


def _growth(found: dict[str, Any]) -> str:
    text = (
        "## Growth of cost\n\n"
        "`benchmarks/growth_of_cost.py`: seconds of a processor and KiB at so many "
        "tiny tasks. The last task, prediction and removal of one are to be flat or "
        "linear, what holds all tasks linear."
    )
    kept, trained = _grown(found, " kept"), _grown(found, " trained")
    if trained:
        trained = (
            "With `--trained`, an epoch a task. Where a task brings about a size that "
            f"was not met before, compiling is in its seconds.\n\n{trained}"
        )
    parts = [part for part in (kept, trained) if part]
    return "\n\n".join([text, *parts]) if parts else f"{text} Not measured yet."


def _grown(found: dict[str, Any], how: str) -> str:
    keys = [key for key in sorted(found) if key.startswith("growth ")]
    rows = [row for key in keys if key.endswith(how) for row in found[key]]
    if not rows:
        return ""
    names = ["method", "tasks", *(k for k in rows[0] if k not in ("method", "tasks"))]
    return _table(names, [[row.get(name) for name in names] for row in rows])


def _bounds() -> str:
    return "## Bounds\n\n" + _table(["of", "bound"], _BOUNDS) + _NOTES


_BOUNDS = [
    ["a text file of a preset", "64 MiB, 3,000,000 values of JSON"],
    [
        "a configuration",
        "1,000,000 values, 60 levels, 5,000 layers, texts of 20,000 letters",
    ],
    [
        "calls of a network",
        "250, and one more for each 128 numbers that the files store; those of a "
        "nested model as often as it is called; 900 in a row",
    ],
    [
        "arguments of a call",
        "10,000 values: tensors of the graph, numbers, slices, arrays",
    ],
    ["an array within a configuration", "100,000 numbers"],
    [
        "a network",
        "16,000,000 numbers, or 64 for each that the files store, by their own sizes",
    ],
    ["what a layer makes of one example", "2^25 numbers"],
    ["arrays in a file", "20,000"],
    ["a file of a hub", "as many bytes as the preset lists, else it is not fetched"],
    ["presets that one goes back to", "1,000; a new one names the newest 100"],
    [
        "YAML",
        "262,144 letters, 200,000 values with each alias counted as often as it is "
        "meant, 100 levels",
    ],
    ["a message about a file", "500 letters beside its path"],
]
_NOTES = """

A functional model is looked at before Keras makes a tensor of it: every call must \
take what an earlier one gave and lead to an output, so that there are no loops, no \
layers that are built beside the graph, and no order that Keras would try for hours. \
`x + y` and the like are classes of `keras.ops`; those on the list get tensors and \
numbers, and stand in graphs alone. `tests/presets/test_graphs.py` holds this.

Making a network takes time that grows with its layers, 2 to 8 ms for each: what Keras \
takes. So a preset of any size may make 250 calls of layers, and more only as it \
stores more. Keras itself makes no Sequential of more than about 980 layers."""


def collect() -> dict[str, int]:
    """How many tests there are of each line."""
    files = sorted(
        {each.partition("::")[0] for part in LINES.values() for each in part}
    )
    words = [sys.executable, "-m", "pytest", "-n0", "-q", "-m", "", "--collect-only"]
    done = subprocess.run([*words, *files], cwd=ROOT, capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if "::" in line]
    return {
        line: sum(any(test.startswith(each) for each in part) for test in found)
        for line, part in LINES.items()
    }


def main() -> None:
    if sys.argv[1:] == ["collect"]:
        record(DATA, "tests", collect())
    PAGE.write_text(page(json.loads(DATA.read_text())))


if __name__ == "__main__":
    main()
