"""What `evaluate` measures, and how."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import ConfigPart, PositiveInt

Far = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class LfwConfig(ConfigPart):
    """Labeled Faces in the Wild, by its own rules."""

    folder: str | None = None
    """Folder of the official files: pairs.txt, people.txt (View 2), pairsDevTrain.txt and pairsDevTest.txt (View 1)."""


class RecognitionConfig(ConfigPart):
    """Classifiers on a frozen embedding, cross-validated; and identification against a gallery."""

    min_examples: Annotated[int, Field(ge=2)] = 3
    """Labels with fewer examples are left out of the classifiers' task."""
    num_folds: Annotated[int, Field(ge=2)] = 10
    num_neighbours: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 3, 5)
    """k of the nearest-neighbour classifiers."""
    svm_kernels: tuple[Literal["linear", "rbf"], ...] = ("linear",)
    """rbf takes several times as long as all the rest where there are many labels, see `evaluation/recognition`."""
    svm_linear_c: Positive = 1.0
    """Penalty of the linear support vector machine."""
    svm_rbf_c: Positive = 10.0
    """Penalty of that with radial basis functions."""
    max_examples: PositiveInt = 10_000
    """Where more examples are fit for the classifiers' task, whole labels are drawn, by seed, until they have so
    many."""
    ranks: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 5, 10)
    """Ranks at which identification is reported."""
    open_set_fars: Annotated[tuple[Far, ...], Field(min_length=1)] = (1e-2, 1e-1)
    """False alarm rates at which open-set identification is reported."""
    max_probes: PositiveInt = 20_000
    """Where there are more probes of a kind, so many are drawn, by seed; the gallery is searched whole."""


class ClusteringConfig(ConfigPart):
    """Clusterings of the embeddings, held to the labels."""

    methods: Annotated[tuple[Literal["agglomerative", "k_means", "hdbscan"], ...], Field(min_length=1)] = (
        "agglomerative",
        "k_means",
        "hdbscan",
    )
    distance_threshold: Annotated[float, Field(gt=0.0, le=4.0)] | None = None
    """agglomerative: clusters farther apart (mean squared distance) are not joined; null: the verification threshold at
    the first of evaluation.fars."""
    max_examples: PositiveInt = 20_000
    """Where there are more, whole labels are drawn, by seed, until they have so many examples."""


class RetrievalConfig(ConfigPart):
    """Search for the other examples of a label."""

    ks: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 4, 8)
    """K of recall@K."""
    max_queries: PositiveInt = 20_000
    """Where there are more, so many are drawn, by seed; all examples are searched."""


class RobustnessConfig(ConfigPart):
    """Sweeps over perturbed images: each value of each sweep embeds the sampled test images once."""

    max_examples: PositiveInt = 2000
    """Test examples that are perturbed: whole labels with at least two examples, drawn by seed."""
    jpeg_qualities: tuple[Annotated[int, Field(ge=1, le=95)], ...] = (10, 20, 30, 50, 70, 90)
    image_sizes: tuple[Annotated[int, Field(ge=4)], ...] = (16, 24, 40, 80, 120, 160)
    """The cropped image is reduced to a side of so many pixels (another shape: to as many pixels in all) and enlarged
    again; one that is no larger stays as it is."""
    blur_radii: tuple[Positive, ...] = (0.5, 1.0, 2.0, 4.0)
    """Standard deviation of a Gaussian blur, in hundredths of the cropped image's side."""
    occlusions: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...] = (0.05, 0.1, 0.2, 0.4)
    """Share of the cropped image's area under one grey rectangle of its shape, placed by seed."""
    noise_levels: tuple[Positive, ...] = (5.0, 10.0, 20.0, 40.0)
    """Standard deviation of Gaussian noise, in grey levels of 255."""


class EvaluationConfig(ConfigPart):
    """What `evaluate` measures."""

    examples: Literal["test", "all"] = "test"
    """test: labels that the corpus keeps for evaluation; all: every example, though training has seen most."""
    allow_trained_labels: bool = False
    """Measure on labels that the checkpoint was trained on, and say so, instead of refusing."""
    fars: Annotated[tuple[Far, ...], Field(min_length=1)] = (1e-3, 1e-2)
    """False accept rates at which VAL is reported."""
    num_splits: Annotated[int, Field(ge=2)] = 5
    """Disjoint sets of labels over which VAL's standard error is taken."""
    max_pairs: Annotated[int, Field(ge=1000)] = 2_000_000
    """Negative (and positive) pairs sampled, by seed, where there are more."""
    against: str | None = None
    """harmonic: the old encoder, RUN:STEP (or RUN, its newest); null: the one that the checkpoint was trained with."""
    projection: Literal["pca", "t_sne", "umap"] = "pca"
    """pictures: how embeddings are brought into the plane; umap needs the package umap-learn."""
    lfw: LfwConfig = LfwConfig()
    recognition: RecognitionConfig = RecognitionConfig()
    clustering: ClusteringConfig = ClusteringConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    robustness: RobustnessConfig = RobustnessConfig()
