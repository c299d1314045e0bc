"""`quire faces`: embed, verify, identify, calibrate and evaluate, with a model or with the scores of any other system."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import Json, OnError, check_on_error

if TYPE_CHECKING:
    from quire_amsoftmax.evaluate.protocols import Judged

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Faces and other identities: verify, identify, calibrate, evaluate, and check data.",
)
ModelPath = Annotated[Path, typer.Argument(help="A run's folder or a saved model's.", metavar="MODEL")]
Images = Annotated[
    Path, typer.Option(help="An image, a folder of images or of identities, a list, .rec, .bin or .tar.")
]
Fars = Annotated[str, typer.Option(help="False-accept rates, such as 1e-4,1e-3.")]
Far = Annotated[float | None, typer.Option(help="Of which threshold; default: the strictest that the model has.")]
Out = Annotated[Path, typer.Option(help="Where to write.")]


@app.command()
def embed(model: ModelPath, images: Images, out: Out, on_error: OnError = "raise") -> None:
    """Write embeddings.npy (float32, mappable) and ids.csv of all images."""
    from quire_amsoftmax.data.anything import open_images
    from quire_amsoftmax.evaluate.store import write_embeddings
    from quire_amsoftmax.gallery import load_embedder

    check_on_error(on_error)
    found = open_images(images)
    count, left_out = write_embeddings(load_embedder(model), found, out, on_error=on_error)  # type: ignore[arg-type]
    typer.echo(f"{count} embeddings in {out / 'embeddings.npy'}, {len(left_out)} images left out")


@app.command()
def verify(model: ModelPath, one: Path, other: Path, far: Far = None, as_json: Json = False) -> None:
    """Are two images of one person? Tells score, threshold, decision and the threshold's false-accept rate."""
    from quire.cli.output import print_json
    from quire_amsoftmax.data.anything import open_image
    from quire_amsoftmax.gallery import FaceVerifier

    verdict = FaceVerifier.load(model).verify(open_image(one)[0], open_image(other)[0], far=far)
    threshold = verdict.threshold
    if as_json:
        print_json({"score": verdict.score, "same": verdict.same, "threshold": vars(threshold)})
        return
    decision = "one person" if verdict.same else "different people"
    typer.echo(
        f"{decision}: score {verdict.score:.4f}, threshold {threshold.value:.4f} "
        f"(FAR {threshold.far:g}, from {threshold.n_impostor:,} impostor pairs of {threshold.source})"
    )


@app.command()
def enroll(
    model: ModelPath, images: Images, gallery: Annotated[Path, typer.Option(help="The gallery's folder.")]
) -> None:
    """Add the images of a folder of identities to a gallery, which is made if it is not there."""
    from quire_amsoftmax.data.anything import open_images
    from quire_amsoftmax.evaluate.store import embed_all
    from quire_amsoftmax.gallery import Gallery, load_embedder

    embedder = load_embedder(model)
    found = embed_all(embedder, open_images(images), [])
    if (gallery / "manifest.json").exists():
        opened = Gallery.open(gallery, embedder, writable=True)
    else:
        opened = Gallery.create(gallery, embedder, dim=found.vectors.shape[1])
    with opened:
        opened.enroll(found.ids, found.vectors, found.identities)
        typer.echo(
            f"{len(found)} images of {len(set(found.identities))} identities enrolled, {len(opened)} in {gallery}"
        )


@app.command()
def identify(
    model: ModelPath,
    images: Images,
    gallery: Annotated[Path, typer.Option(help="The gallery's folder.")],
    top: Annotated[int, typer.Option(min=1, help="How many candidates to tell.")] = 3,
    far: Far = None,
    as_json: Json = False,
) -> None:
    """Who is in these images? The nearest enrolled identity, or nobody where its score is below the threshold."""
    from quire.cli.output import print_json, print_table
    from quire_amsoftmax.data.anything import open_images
    from quire_amsoftmax.gallery import FaceVerifier

    found = open_images(images)
    answers = FaceVerifier.load(model, gallery=gallery).identify(found, k=top, far=far)
    names = [entry.id for entry in found.entries]
    if as_json:
        rows = [
            {"image": name, "identity": answer.identity, "candidates": [vars(each) for each in answer.candidates]}
            for name, answer in zip(names, answers, strict=True)
        ]
        print_json(rows)
        return
    print_table(
        ("image", "identity", "candidates"),
        [
            (
                name,
                answer.identity or "(a stranger)",
                ", ".join(f"{each.identity} {each.score:.3f}" for each in answer.candidates),
            )
            for name, answer in zip(names, answers, strict=True)
        ],
    )


@app.command()
def calibrate(
    model: ModelPath,
    images: Images,
    far: Fars = "1e-4,1e-3",
    pairs: Annotated[
        Path | None, typer.Option(help="A CSV path_a,path_b,same; default: all pairs of the images.")
    ] = None,
) -> None:
    """Measure thresholds on pairs and keep them in the model's folder, with their rate and the number of pairs."""
    from quire_amsoftmax.data.anything import open_images
    from quire_amsoftmax.evaluate.protocols import judge_pairs
    from quire_amsoftmax.evaluate.store import embed_all
    from quire_amsoftmax.gallery import calibrate as measure
    from quire_amsoftmax.gallery import load_embedder, save_thresholds

    embedder = load_embedder(model)
    rates = parse_rates(far)
    found = embed_all(embedder, open_images(images), [])
    judged = judge_pairs(found, "folder" if pairs is None else "pairs-csv", pairs, fars=rates)
    if judged.stream is None:
        raise AssertionError("pairs are one stream")
    made = measure(embedder, judged.stream, rates, source=(pairs or images).name)
    save_thresholds(embedder, model)
    for each in made:
        typer.echo(
            f"FAR {each.far:g}: threshold {each.value:.4f} ({each.k} of {each.n_impostor:,} impostor pairs), "
            f"VR {each.vr:.4f} of {each.n_genuine:,} genuine pairs"
        )


@app.command()
def evaluate(
    scores: Annotated[
        Path | None, typer.Option(help="A table score,same[,fold] of any system; no model needed.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Another column of the scores.")] = None,
    same: Annotated[str, typer.Option(help="The column that says whether a pair is of one person.")] = "same",
    distance: Annotated[bool, typer.Option(help="The scores are distances.")] = False,
    embeddings: Annotated[Path | None, typer.Option(help="embeddings.npy; no model needed.")] = None,
    ids: Annotated[Path | None, typer.Option(help="ids.csv; default: beside the embeddings.")] = None,
    model: Annotated[Path | None, typer.Option(help="A run's folder or a saved model's.")] = None,
    images: Annotated[Path | None, typer.Option(help="The images that the model embeds.")] = None,
    protocol: Annotated[str, typer.Option(help="folder, lfw, pairs-csv, insightface-bin, blufr or ijb.")] = "folder",
    file: Annotated[Path | None, typer.Option(help="The protocol's own file, such as pairs.txt.")] = None,
    far: Fars = "1e-6,1e-5,1e-4,1e-3,1e-2,1e-1",
    variant: Annotated[str, typer.Option(help="Thresholds of folds: exact, sphereface or insightface.")] = "exact",
    missing: Annotated[str, typer.Option(help="What a pair does whose image is not there: error or skip.")] = "error",
    out: Annotated[Path | None, typer.Option(help="Folder for report.json, report.html and roc.csv.")] = None,
    as_json: Json = False,
) -> None:
    """Verification figures of scores, of embeddings, or of a model's embeddings of images."""
    from quire_amsoftmax.evaluate.protocols import judge_scores
    from quire_amsoftmax.protocols.pairs import read_scores

    require_choice("variant", variant, ("exact", "sphereface", "insightface"))
    require_choice("missing", missing, ("error", "skip"))
    rates = parse_rates(far)
    if scores is not None:
        read = read_scores(scores, column=column, same=same, distance=distance)
        judged = judge_scores(read, fars=rates, variant=variant)  # type: ignore[arg-type]
    else:
        judged = _judge(embeddings, ids, model, images, protocol, file, rates, variant, missing)
    _tell(judged, out, as_json)


@app.command()
def megaface(
    probes: Annotated[Path, typer.Option(help="The devkit's list of FaceScrub: {path: [...], id: [...]}.")],
    distractors: Annotated[Path, typer.Option(help="The devkit's list of distractors.")],
    probe_features: Annotated[Path, typer.Option(help="The folder of the probes' feature files.")],
    distractor_features: Annotated[Path, typer.Option(help="The folder of the distractors' feature files.")],
    suffix: Annotated[str, typer.Option(help="What follows an image's path in its feature file's.")] = ".bin",
    noise: Annotated[list[Path] | None, typer.Option(help="Lists of images to leave out.")] = None,
    sizes: Annotated[str, typer.Option(help="Numbers of distractors.")] = "10,100,1000,10000,100000,1000000",
    seed: Annotated[int, typer.Option(help="Of which distractors are taken first.")] = 0,
    missing: Annotated[str, typer.Option(help="What an image without a feature file does: error or skip.")] = "error",
    out: Annotated[Path | None, typer.Option(help="Folder for report.json, report.html and roc.csv.")] = None,
    as_json: Json = False,
) -> None:
    """MegaFace challenge 1 from feature files: rank 1 and 10 among distractors, and VR at low false-accept rates."""
    import tempfile

    from quire_amsoftmax.evaluate.protocols import judge_megaface
    from quire_amsoftmax.evaluate.store import Embeddings
    from quire_amsoftmax.protocols.megaface import MegaFaceProtocol, load_features

    require_choice("missing", missing, ("error", "skip"))
    counts = parse_counts(sizes)
    protocol = MegaFaceProtocol.read(probes, distractors, noise=noise or [])
    vectors, kept, left_out = load_features(protocol.probes, probe_features, suffix=suffix, missing=missing)
    known = Embeddings(vectors, [protocol.probes.paths[i] for i in kept], [protocol.probes.ids[i] for i in kept])
    with tempfile.TemporaryDirectory() as folder:  # a million features may not fit in memory
        others, _, more = load_features(
            protocol.distractors, distractor_features, suffix=suffix, missing=missing, into=Path(folder) / "d.npy"
        )
        judged = judge_megaface(known, others, sizes=counts, seed=seed)
        judged.report.left_out += [str(error) for error in (*left_out, *more)]
        judged.report.n_left_out = len(judged.report.left_out)
        del others
    _tell(judged, out, as_json)


def _tell(judged: Judged, out: Path | None, as_json: bool) -> None:
    """Print a report, and write it with its roc.csv."""
    from quire.cli.output import print_json, print_scores
    from quire_amsoftmax.evaluate.reports import write_roc

    if out is not None:
        judged.report.write(out)
        if judged.verification is not None:
            write_roc(judged.verification, out / "roc.csv")
    if as_json:
        print_json(judged.report.to_json())
        return
    print_scores(judged.report.metrics)
    for note in judged.report.notes:
        typer.echo(note)


def _judge(
    embeddings: Path | None,
    ids: Path | None,
    model: Path | None,
    images: Path | None,
    protocol: str,
    file: Path | None,
    fars: list[float],
    variant: Any,
    missing: Any,
) -> Judged:
    """The report of stored embeddings, or of a model's."""
    from quire.errors import ConfigError
    from quire_amsoftmax.data.anything import open_images
    from quire_amsoftmax.evaluate.protocols import judge_pairs
    from quire_amsoftmax.evaluate.store import Embeddings, embed_all
    from quire_amsoftmax.gallery import load_embedder

    require_choice("protocol", protocol, ("folder", "lfw", "pairs-csv", "insightface-bin", "blufr", "ijb"))
    if embeddings is not None:
        found = Embeddings.load(embeddings, ids)
    elif model is not None and images is not None:
        found = embed_all(load_embedder(model), open_images(images), [])
    else:
        raise ConfigError(
            "there is nothing to evaluate", remedy="Give --scores, --embeddings, or --model with --images."
        )
    return judge_pairs(found, protocol, file, fars=fars, variant=variant, missing=missing)  # type: ignore[arg-type]


@app.command()
def align(
    images: Annotated[Path, typer.Option(help="The folder of the images.")],
    landmarks: Annotated[Path, typer.Option(help="Five points of each image: CSV, JSON, or lines `path x1 y1 ...`.")],
    out: Out,
    size: Annotated[str, typer.Option(help="Height x width: 112x96 or 112x112.")] = "112x112",
    on_error: OnError = "raise",
) -> None:
    """Bring faces to the usual pose by their landmarks, in the same folders below --out."""
    from quire.errors import ConfigError, InvalidSample
    from quire.modality import Image, path_inside
    from quire_amsoftmax.align import align as transform
    from quire_amsoftmax.align import read_landmarks

    check_on_error(on_error)
    parts = size.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--size is {size!r}", remedy="Write height x width, such as 112x96.")
    shape = int(parts[0]), int(parts[1])
    done, left_out = 0, []
    for name, points in read_landmarks(landmarks).items():
        try:
            picture = Image().read(path_inside(images, name))
            Image().write(transform(picture, points, shape), path_inside(out, name).with_suffix(".png"))
            done += 1
        except InvalidSample as error:
            if on_error == "raise":
                raise
            left_out.append(f"{name}: {error}")
    typer.echo(f"{done} images aligned, {len(left_out)} left out")
    for reason in left_out:
        typer.echo(f"  {reason}")


@app.command()
def overlap(
    ours: Annotated[Path, typer.Argument(help="Names of the training set: lines `id name` or `name`.")],
    theirs: Annotated[Path, typer.Argument(help="Names of the test set.")],
    similar: Annotated[bool, typer.Option(help="Also names that are nearly equal, for a person to look at.")] = True,
    out: Annotated[Path | None, typer.Option(help="A list of the ids, for exclude_lists.")] = None,
) -> None:
    """Identities that a training set shares with a test set, by their names."""
    from quire.cli.output import print_table
    from quire.storage import atomic_file
    from quire_amsoftmax.data.overlap import overlap as shared
    from quire_amsoftmax.data.overlap import read_names

    names = read_names(ours)
    found = shared(names, read_names(theirs).values(), similar=similar)
    print_table(("id", "name", "test set", "kind"), [(each.ours, each.name, each.theirs, each.kind) for each in found])
    exact = {each.ours for each in found if each.kind == "exact"}
    either = {each.ours for each in found}
    typer.echo(f"{len(exact)} of {len(names)} identities are shared, {len(either - exact)} more have similar names")
    if out is not None:
        with atomic_file(out, "w") as file:
            file.writelines(f"{name}\n" for name in names if name in either)


@app.command()
def clean(
    model: ModelPath,
    images: Images,
    out: Annotated[Path, typer.Option(help="A CSV of the images to look at.")],
    angle: Annotated[float, typer.Option(help="Degrees from the mean of the identity's other images.")] = 75.0,
) -> None:
    """List images that may stand under the wrong identity: far from the others of it, or nearer to another's."""
    from quire_amsoftmax.data.anything import open_images
    from quire_amsoftmax.evaluate.cleaning import suspects, write_suspects
    from quire_amsoftmax.evaluate.store import embed_all
    from quire_amsoftmax.gallery import load_embedder

    found = suspects(embed_all(load_embedder(model), open_images(images), []), angle=angle)
    write_suspects(found, out)
    typer.echo(f"{len(found)} images to look at in {out}")


@app.command()
def check(
    data: Annotated[Path, typer.Option(help="A folder of identities.")],
    out: Annotated[Path | None, typer.Option(help="Where skipped.csv goes; default: it is printed.")] = None,
) -> None:
    """Read every image of a folder of identities; tell counts and what can't be used. Exit code 1 if there is any."""
    from quire_amsoftmax.data.faces import write_skipped
    from quire_amsoftmax.data.folder import FaceFolder

    bad: dict[str, Any] = {}
    for split in FaceFolder.splits(data):
        faces = FaceFolder.open(
            data, split=split, on_error="skip", check="pixels", validation_fraction=0.0, test_fraction=0.0
        )
        typer.echo(f"{split}: {len(faces)} images of {len(faces.identities)} identities")
        for note in faces.notes:
            typer.echo(f"  note: {note}")
        bad |= {str(error): error for error in faces.skipped}
        if len(faces.identities) == len(faces.labels):
            break
    if out is not None:
        write_skipped(bad.values(), out)
    else:
        sys.stdout.writelines(f"  problem: {error}\n" for error in bad)
    if bad:
        raise typer.Exit(1)


def parse_rates(text: str) -> list[float]:
    """The rates of "1e-4,1e-3", each above 0 and at most 1. ConfigError for anything else."""
    from quire.errors import ConfigError

    rates = []
    for part in text.split(","):
        try:
            rate = float(part)
        except ValueError:
            rate = -1.0
        if not 0 < rate <= 1:
            raise ConfigError(f"{part.strip()!r} is no rate above 0 and at most 1", remedy="Write 1e-4,1e-3.")
        rates.append(rate)
    return rates


def parse_counts(text: str) -> list[int]:
    """The numbers of "10,100", each from 1. ConfigError for anything else."""
    from quire.errors import ConfigError

    parts = [part.strip() for part in text.split(",")]
    bad = next((part for part in parts if not part.isdecimal() or not int(part)), None)
    if bad is not None:
        raise ConfigError(f"{bad!r} is no number from 1", remedy="Write 10,100,1000.")
    return [int(part) for part in parts]


def require_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """ConfigError for a value that is none of `choices`."""
    from quire.errors import ConfigError, nearest

    if value not in choices:
        raise ConfigError(f"--{option} is {value!r}{nearest(value, choices)}", remedy=f"Use {', '.join(choices)}.")
