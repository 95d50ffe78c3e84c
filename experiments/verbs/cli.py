"""The command line `zoo`: one verb, what it works on, and typed options.

Errors are for people: a mistake of the user ends with one message and exit code 2, a failure of the world around us
(network, disk) with one message and exit code 1, and a training stopped by a signal with 128 + its number.
"""

import dataclasses
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from zoo.errors import UserError, unknown

# The rest is imported by the verbs that need it: `zoo --help` answers at once.


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("zoo: stopped.", file=sys.stderr)
        return 128 + signal.SIGINT
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        print(f"zoo: {error}", file=sys.stderr)
        return code


# Paths that cannot be read or written as the user asked.
_WRONG_PLACE = FileNotFoundError | FileExistsError | NotADirectoryError | IsADirectoryError | PermissionError


def _exit_code(error: Exception) -> int | None:
    """The exit code of an error that has a message for people; `None` for a mistake of ours."""
    from zoo_datasets.loading import catalogue, records, sources

    if isinstance(error, UserError | records.DataError | catalogue.UnknownName | _WRONG_PLACE):
        return 2
    if isinstance(error, sources.SourceError | OSError):
        return 1
    number = getattr(error, "signal_number", None)
    return None if number is None else 128 + number


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        import zoo

        print(zoo.__version__)
        return 0
    verb, *rest = arguments
    if verb not in _VERBS:
        raise unknown("verb", verb, _VERBS)
    return _VERBS[verb](rest) or 0


def _overview() -> str:
    width = max(map(len, _VERBS))
    lines = [f"  {name:<{width}}  {(function.__doc__ or '').splitlines()[0]}" for name, function in _VERBS.items()]
    return "usage: zoo VERB …\n\n" + "\n".join(lines) + "\n\n`zoo VERB --help` tells more."


def _parse(verb: str, kind: type, arguments: list[str], default: object = None) -> object:
    """Parse the options of a verb into a dataclass; help and mistakes end the program with 0 and 2."""
    config = (tyro.conf.OmitArgPrefixes,) if default is None else ()
    extra = {} if default is None else {"default": default}
    return tyro.cli(kind, args=arguments, prog=f"zoo {verb}", config=config, **extra)


def _compile_cache() -> None:
    """Keep compiled programs between calls: the second start of a training skips the compiler."""
    import jax

    from zoo_datasets.loading.sources import data_dir

    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(data_dir() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def models(arguments: list[str]) -> None:
    """Table of the models: inputs, symmetry, parameters, paper."""

    @dataclass(frozen=True)
    class Models:
        """Table of the models.

        Attributes:
            pattern: shell pattern of names, such as "resnet*".
        """

        pattern: Annotated[str, tyro.conf.Positional] = "*"

    options = _parse("models", Models, arguments)
    import zoo
    from zoo_experiments.verbs.tables import models_table, show

    if not zoo.names(options.pattern):
        raise unknown("model", options.pattern, zoo.names())
    show(models_table(options.pattern))


def experiments(arguments: list[str]) -> None:
    """Table of the experiments."""
    _parse("experiments", _Nothing, arguments)
    from zoo_experiments.verbs.tables import experiments_table, show

    show(experiments_table())


def data(arguments: list[str]) -> None:
    """Data sets: list, prepare NAME, describe NAME, where."""

    @dataclass(frozen=True)
    class Data:
        """Data sets: what there is, what it is, where it is.

        Attributes:
            action: `list` all, `prepare` (download and write) or `describe` one, or say `where` prepared data is kept.
            name: name of a data set, for `prepare` and `describe`.
        """

        action: Annotated[Literal["list", "prepare", "describe", "where"], tyro.conf.Positional] = "list"
        name: Annotated[str, tyro.conf.Positional] = ""

    if arguments and not arguments[0].startswith("-") and arguments[0] not in ("list", "prepare", "describe", "where"):
        raise unknown("action of `zoo data`", arguments[0], ("list", "prepare", "describe", "where"))
    options = _parse("data", Data, arguments)
    from zoo_datasets.loading import catalogue, sources
    from zoo_experiments.verbs.tables import data_table, describe_data, show

    if options.action == "where":
        print(sources.data_dir())
    elif options.action == "list":
        show(data_table())
    elif not options.name:
        raise UserError(f"`zoo data {options.action}` needs a name; there are: {', '.join(catalogue.names())}.")
    elif options.action == "prepare":
        print(catalogue.prepare(options.name))
    else:
        print(describe_data(options.name))


def train(arguments: list[str]) -> None:
    """Train an experiment, evaluate it, write its report; the same command resumes."""
    name, experiment, rest = _experiment("train", arguments)

    from zoo_datasets.loading import catalogue
    from zoo_experiments.verbs.experiment import Experiment

    @dataclass(frozen=True)
    class Train(Experiment):
        """Train, evaluate on validation, write the report. The same command again goes on where it was stopped.

        Attributes:
            name: name of the run; default seedN.
            runs: folder of all runs.
            mode: jit, or pmap for one program per device.
            devices: number of devices; 0 is one under jit and all under pmap.
            report: write report.html at the end.
            progress: draw a bar, or print lines where there is no terminal.
        """

        name: str = ""
        runs: Path = Path("runs")
        mode: Literal["jit", "pmap"] = "jit"
        devices: int = 0
        report: bool = True
        progress: bool = True

    shown = {f.name: getattr(experiment, f.name) for f in dataclasses.fields(Experiment)}
    options = _parse(f"train {name}", Train, rest, Train(**shown))
    if Path(options.data).exists() and not catalogue.is_known(options.data):
        # Later verbs may be called from another folder.
        options = dataclasses.replace(options, data=str(Path(options.data).resolve()))
    chosen = Experiment(**{field: getattr(options, field) for field in shown})
    _compile_cache()
    from zoo_experiments.verbs.reporting import write_report
    from zoo_experiments.verbs.runs import warn
    from zoo_experiments.verbs.training import train_experiment

    if options.name == ".." or Path(options.name).name != options.name:
        raise UserError(f"The name of a run is the name of one folder, without separators; got {options.name!r}.")
    folder = options.runs / name / (options.name or f"seed{chosen.seed}")
    run = train_experiment(
        name,
        chosen,
        folder=folder,
        mode=options.mode,
        devices=options.devices,
        progress=options.progress,
        command=shlex.join(["zoo", "train", *arguments]),
    )
    _print_metrics(run.read("results.json"), "validation")
    if options.report:
        made = run.setup(splits=("validation",))
        path = write_report(run, made, run.weights(made).state)
        warn("Report:")
        print(path)


def evaluate(arguments: list[str]) -> None:
    """Metrics of a run on a split, with intervals; refreshes its report."""

    @dataclass(frozen=True)
    class Evaluate:
        """Metrics of a run on one split, with 95 % intervals, into its results.json and report.

        Attributes:
            run: run folder, EXPERIMENT/NAME, or EXPERIMENT for its newest run.
            split: train, validation or test; looks at the test split are counted.
            data: your own labelled data with the same classes, instead of the run's.
            runs: folder of all runs.
        """

        run: Annotated[str, tyro.conf.Positional]
        split: Literal["train", "validation", "test"] = "validation"
        data: str = ""
        runs: Path = Path("runs")

    options = _parse("evaluate", Evaluate, arguments)
    _compile_cache()
    from zoo_experiments.verbs.evaluating import evaluate_other, evaluate_run
    from zoo_experiments.verbs.reporting import write_report
    from zoo_experiments.verbs.runs import open_run

    run = open_run(options.run, root=str(options.runs))
    if options.data:
        for row in evaluate_other(run, data=options.data, split=options.split):
            print(_line(row))
        return
    made = run.setup(splits=tuple({"validation", options.split}))
    state = run.weights(made).state
    evaluate_run(run, made, state, split=options.split)
    _print_metrics(run.read("results.json"), options.split)
    write_report(run, made, state)


def predict(arguments: list[str]) -> None:
    """Probabilities for your own images, without labels, as a CSV file."""

    @dataclass(frozen=True)
    class Predict:
        """Classify your own images with a trained run.

        Attributes:
            run: run folder, EXPERIMENT/NAME, or EXPERIMENT for its newest run.
            data: .npz, HDF5 or FITS file, image folder, or name of a data set.
            out: CSV file to write, one row per record; an .npz file where pixels, steps, nodes … are predicted.
            runs: folder of all runs.
        """

        run: Annotated[str, tyro.conf.Positional]
        data: str
        out: Path = Path("predictions.csv")
        runs: Path = Path("runs")

    options = _parse("predict", Predict, arguments)
    _compile_cache()
    from zoo_experiments.verbs.predicting import predict_run
    from zoo_experiments.verbs.runs import open_run

    run = open_run(options.run, root=str(options.runs))
    counts = predict_run(run, data=options.data, out=options.out)
    if run.outputs.targets:
        print(", ".join(f"mean {name} {mean:.4g} {run.outputs.targets[name]}".strip() for name, mean in counts.items()))
    elif run.outputs.dense or run.outputs.rows:
        what = "pixels" if run.outputs.dense else f"{run.outputs.rows}s"
        print(", ".join(f"{name} {share:.1%} of the {what}" for name, share in counts.items()))
    else:
        print(", ".join(f"{count} {name}" for name, count in counts.items()))
    print(options.out)


def explain(arguments: list[str]) -> None:
    """Where a trained network looks: a figure and the arrays behind it."""

    @dataclass(frozen=True)
    class Explain:
        """Explain the logit of a class for some images of a run's data.

        Attributes:
            run: run folder, EXPERIMENT/NAME, or EXPERIMENT for its newest run.
            method: saliency, gradient_x_input, smooth_grad, integrated_gradients, grad_cam, occlusion; one or
                several. Default: the last three, Grad-CAM only where the model has a layer with spatial axes.
            target: class or target to explain, by name or number; default: the predicted class, or the first target.
            layer: layer for Grad-CAM; default: the last with spatial axes.
            split: which data.
            records: record numbers; default: one of median probability per class.
            out: folder for the figure and the arrays; default: the run's `explanations`.
            runs: folder of all runs.
        """

        run: Annotated[str, tyro.conf.Positional]
        method: tuple[str, ...] | None = None
        target: str = ""
        layer: str = ""
        split: Literal["train", "validation", "test"] = "validation"
        records: tuple[int, ...] = ()
        out: Path | None = None
        runs: Path = Path("runs")

    options = _parse("explain", Explain, arguments)
    _compile_cache()
    from zoo_experiments.verbs.explaining import explain_run
    from zoo_experiments.verbs.runs import open_run

    run = open_run(options.run, root=str(options.runs))
    target = None
    if options.target:
        names = run.outputs.names
        known = {**{n: i for i, n in enumerate(names)}, **{str(i): i for i in range(len(names))}}
        if options.target not in known:
            raise unknown("target" if run.outputs.targets else "class", options.target, names)
        target = known[options.target]
    print(
        explain_run(
            run,
            methods=options.method,
            target=target,
            layer=options.layer or None,
            split=options.split,
            records=options.records,
            out=options.out or run.file("explanations"),
        )
    )


def report(arguments: list[str]) -> None:
    """Write the report page of a run again."""

    @dataclass(frozen=True)
    class Report:
        """Write report.html of a run.

        Attributes:
            run: run folder, EXPERIMENT/NAME, or EXPERIMENT for its newest run.
            runs: folder of all runs.
        """

        run: Annotated[str, tyro.conf.Positional]
        runs: Path = Path("runs")

    options = _parse("report", Report, arguments)
    _compile_cache()
    from zoo_experiments.verbs.evaluating import evaluate_run, value_of
    from zoo_experiments.verbs.reporting import write_report
    from zoo_experiments.verbs.runs import open_run

    run = open_run(options.run, root=str(options.runs))
    made = run.setup(splits=("validation",))
    state = run.weights(made).state
    if value_of(run.read("results.json"), run.outputs.score, "validation") is None:
        evaluate_run(run, made, state, split="validation")
    print(write_report(run, made, state))


def baseline(arguments: list[str]) -> None:
    """Linear models and trees on hand-made features: the score that a network must beat."""
    name, experiment, rest = _experiment("baseline", arguments)

    @dataclass(frozen=True)
    class Baseline:
        """Fit scikit-learn's models on features made by hand, or on a field of the data, as the experiment says.

        Attributes:
            split: validation, or test to score that as well.
            inputs: what the models are given, in place of what the experiment says; these scores enter no table.
            seed: of the models, and the fold of data whose folds go by the seed.
            runs: folder of all runs.
        """

        split: Literal["validation", "test"] = "validation"
        inputs: str = ""
        seed: int = 0
        runs: Path = Path("runs")

    options = _parse(f"baseline {name}", Baseline, rest)
    given = {"baseline": options.inputs} if options.inputs else {}
    experiment = dataclasses.replace(experiment, seed=options.seed, **given)
    endings = [Path(options.inputs).name] * bool(options.inputs) + [f"seed{options.seed}"] * bool(options.seed)
    folder = options.runs / name / "_".join(["baseline", *endings])
    from zoo_experiments.verbs.baselining import fit_experiment

    splits = tuple(dict.fromkeys(("validation", options.split)))
    for model in fit_experiment(name, experiment, folder=folder, splits=splits):
        for row in model["metrics"]:
            print(f"{model['name']}, {_line(row)}")


def deblend(arguments: list[str]) -> None:
    """Fluxes of blended galaxies by networks and by SExtractor's algorithm."""

    @dataclass(frozen=True)
    class Deblend:
        """Measure blended galaxies with trained runs and with sep, and draw the errors against the kind of blend.

        Attributes:
            run: runs, each EXPERIMENT/NAME or EXPERIMENT for its newest run.
            data: blends, or another configuration of them: blends/one, blends/three, real_blends.
            split: which records; looks at the test split are not counted here.
            out: folder of table and figures; default runs/deblend/DATA.
            runs: folder of all runs.
        """

        run: Annotated[tuple[str, ...], tyro.conf.Positional]
        data: str = "blends"
        split: Literal["validation", "test"] = "validation"
        out: Path | None = None
        runs: Path = Path("runs")

    options = _parse("deblend", Deblend, arguments)
    _compile_cache()
    from zoo_experiments.verbs.deblending import compare
    from zoo_experiments.verbs.runs import open_run
    from zoo_experiments.verbs.tables import show

    if not options.run:
        raise UserError("Name at least one run: zoo deblend blends_fluxes/seed0 blends_both/seed0.")
    found = [open_run(name, root=str(options.runs)) for name in options.run]
    out = options.out or options.runs / "deblend" / options.data.replace("/", "_")
    table, lines = compare(found, data=options.data, split=options.split, out=out)
    show(table)
    print("\n".join([*lines, str(out)]))


def over(arguments: list[str]) -> None:
    """Scores of networks against time, steps seen, a property, or their gradient over lag; pools against each other."""

    @dataclass(frozen=True)
    class Over:
        """Draw one line for each run: `zoo over lag memory_rnn memory_lstm`, `zoo over time light_curves`.

        Attributes:
            quantity: time, step, gradient, certainty, or a field of the records; or, without runs, pools: which
                multisets sum, mean, maximum and attention tell apart.
            run: runs, each EXPERIMENT/NAME or EXPERIMENT for its newest run.
            split: which records.
            out: folder of figure and table; default runs/over.
            runs: folder of all runs.
        """

        quantity: Annotated[str, tyro.conf.Positional]
        run: Annotated[tuple[str, ...], tyro.conf.Positional]
        split: Literal["validation", "test"] = "validation"
        out: Path | None = None
        runs: Path = Path("runs")

    options = _parse("over", Over, arguments)
    if options.quantity == "pools":
        if options.run:
            raise UserError("`zoo over pools` compares pools by themselves; it takes no run.")
        from zoo_experiments.verbs.multisets import draw

        print(draw(options.out or options.runs / "over"))
        return
    if not options.run:
        raise UserError("Name a quantity and at least one run: zoo over lag memory_rnn memory_lstm.")
    _compile_cache()
    from zoo_experiments.verbs.over import compare_over
    from zoo_experiments.verbs.runs import open_run

    found = [open_run(name, root=str(options.runs)) for name in options.run]
    print(compare_over(options.quantity, found, split=options.split, out=options.out or options.runs / "over"))


def sample(arguments: list[str]) -> None:
    """Text that a network trained on text goes on with."""

    @dataclass(frozen=True)
    class Sample:
        """Continue a text, symbol by symbol.

        Attributes:
            run: EXPERIMENT/NAME, or EXPERIMENT for its newest run.
            prompt: text to begin with.
            characters: how many are added.
            temperature: 1 draws as the network says, below 1 the likely more often; 0 takes the likeliest.
            seed: of the draws.
            runs: folder of all runs.
        """

        run: Annotated[str, tyro.conf.Positional]
        prompt: str = "\n"
        characters: int = 400
        temperature: float = 0.8
        seed: int = 0
        runs: Path = Path("runs")

    options = _parse("sample", Sample, arguments)
    _compile_cache()
    from zoo_experiments.verbs.runs import open_run
    from zoo_experiments.verbs.texting import continue_text

    run = open_run(options.run, root=str(options.runs))
    print(
        continue_text(
            run,
            options.prompt,
            characters=options.characters,
            temperature=options.temperature,
            seed=options.seed,
        )
    )


def curve(arguments: list[str]) -> None:
    """A score against the number of training images, for one or more experiments."""

    @dataclass(frozen=True)
    class Curve:
        """Train experiments on ever more of the same data, several seeds each, and draw their validation scores.

        Attributes:
            experiments: names of experiments on the same data.
            sizes: numbers of training images.
            seeds: seeds of the trainings.
            out: folder of the figure and the table; default runs/FIRST/curve.
            runs: folder of all runs.
        """

        experiments: Annotated[tuple[str, ...], tyro.conf.Positional]
        sizes: tuple[int, ...] = (50, 100, 200, 500, 1000)
        seeds: tuple[int, ...] = (0, 1, 2)
        out: Path | None = None
        runs: Path = Path("runs")

    options = _parse("curve", Curve, arguments)
    from zoo_experiments import experiments as all_experiments

    known = all_experiments()
    for name in options.experiments:
        if name not in known:
            raise unknown("experiment", name, known)
    if not (options.experiments and options.sizes and options.seeds):
        raise UserError("`zoo curve` needs at least one experiment, one size and one seed.")
    _compile_cache()
    from zoo_experiments.verbs.curve import data_curve

    print(
        data_curve(
            {name: known[name] for name in options.experiments},
            sizes=options.sizes,
            seeds=options.seeds,
            runs=options.runs,
            out=options.out or options.runs / options.experiments[0] / "curve",
        )
    )


def results(arguments: list[str]) -> None:
    """Scores of the experiments over seeds; --collect gathers them from finished runs."""

    @dataclass(frozen=True)
    class Results:
        """Print the stored scores, or gather those of finished runs first.

        Attributes:
            experiments: names of experiments to gather; all with runs when none is given.
            collect: gather from the run folders into results.json beside the experiments.
            runs: folder of all runs.
        """

        experiments: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
        collect: bool = False
        runs: Path = Path("runs")

    options = _parse("results", Results, arguments)
    from zoo_experiments import experiments as all_experiments
    from zoo_experiments.verbs.results import collect, results_table
    from zoo_experiments.verbs.tables import show

    if options.collect:
        there = [name for name in all_experiments() if any((options.runs / name).glob("*/results.json"))]
        collect(options.experiments or there, runs=options.runs)
    show(results_table())


def bench(arguments: list[str]) -> None:
    """What an experiment costs on this machine; `bench models`: training steps beside PyTorch's."""
    if arguments[:1] == ["models"]:
        return _bench_models(arguments[1:])
    name, experiment, rest = _experiment("bench", arguments)

    @dataclass(frozen=True)
    class Bench:
        """Measure an experiment on this machine; nothing is kept.

        Attributes:
            steps: training steps to time after the first.
        """

        steps: int = 30

    options = _parse(f"bench {name}", Bench, rest)
    _compile_cache()
    from zoo_experiments.verbs.bench import bench_experiment
    from zoo_experiments.verbs.tables import bench_table, show

    show(bench_table(bench_experiment(experiment, steps=options.steps)))


def _bench_models(arguments: list[str]) -> None:
    from zoo_experiments.verbs.bench_models import MEASURED, STORE, bench_models, keep, rows_table
    from zoo_experiments.verbs.tables import show

    @dataclass(frozen=True)
    class BenchModels:
        """Time a training step of the models beside the same networks in PyTorch, on the CPU.

        Attributes:
            only: names of models; default: all that have a twin in PyTorch.
            steps: turns to time after warming up; the fastest counts.
            keep: write the numbers into the file of `out`, from which `zoo readme` takes its table.
            out: JSON file that --keep writes.
        """

        only: tuple[str, ...] = ()
        steps: int = 10
        keep: bool = False
        out: Path = STORE

    options = _parse("bench models", BenchModels, arguments)
    if options.out != STORE and not options.keep:
        raise UserError(f"--out says where --keep writes: add --keep, or nothing goes into {options.out}.")
    if not options.out.parent.is_dir():
        raise UserError(f"There is no folder {options.out.parent} to write {options.out.name} into: make it first.")
    _compile_cache()
    rows = bench_models(options.only or MEASURED, steps=options.steps)
    show(rows_table(rows))
    if options.keep:
        keep(rows, options.out)
        print(options.out)


def readme(arguments: list[str]) -> None:
    """Refresh the generated tables of README.md."""
    _parse("readme", _Nothing, arguments)
    from zoo_experiments.verbs.tables import refresh_readme

    print(refresh_readme(Path("README.md")))


@dataclass(frozen=True)
class _Nothing:
    """No options."""


_VERBS: Mapping[str, Callable[[list[str]], None]] = {
    "models": models,
    "experiments": experiments,
    "data": data,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "explain": explain,
    "report": report,
    "baseline": baseline,
    "curve": curve,
    "deblend": deblend,
    "over": over,
    "sample": sample,
    "results": results,
    "bench": bench,
    "readme": readme,
}


# What a verb takes in place of an experiment.
_SUBJECTS: Mapping[str, tuple[str, ...]] = {"bench": ("models",)}


def _experiment(verb: str, arguments: list[str]) -> tuple[str, object, list[str]]:
    """The experiment named first, and the remaining arguments."""
    from zoo_experiments import experiments as all_experiments

    known = all_experiments()
    if not arguments or arguments[0] in ("-h", "--help"):
        also = [f"zoo {verb} {subject} [options]" for subject in _SUBJECTS.get(verb, ())]
        print("\n       ".join([f"usage: zoo {verb} EXPERIMENT [options]", *also]) + "\n\nExperiments:")
        for name, experiment in known.items():
            print(f"  {name}: {experiment.title}")
        print(f"\n`zoo {verb} EXPERIMENT --help` lists the options.")
        raise SystemExit(0 if arguments else 2)
    name, *rest = arguments
    if name not in known:
        raise unknown("experiment", name, (*known, *_SUBJECTS.get(verb, ())))
    return name, known[name], rest


def _print_metrics(results: dict, split: str) -> None:
    for row in results["metrics"]:
        if row["split"] == split:
            print(_line(row))


def _line(row: Mapping) -> str:
    from zoo_experiments.verbs.evaluating import as_text

    return f"{row['split']} {row['name']}: {as_text(row)}"


if __name__ == "__main__":
    sys.exit(main())
