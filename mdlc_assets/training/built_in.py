"""SageMaker's built-in algorithms, by the names of their images: shape, channels, input, machines, image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mdlc_assets.resources.sagemaker.built_in_images import image_address

Shape = Literal["supervised", "unsupervised", "forecast", "pairs", "image", "text"]
_RECORDS = "application/x-recordio-protobuf"
_LINES = "application/jsonlines"


@dataclass(frozen=True)
class BuiltIn:
    """One algorithm. `content_types` are what its channels take, the best for tables first."""

    name: str
    shape: Shape
    group: str
    content_types: tuple[str, ...]
    channels: tuple[str, ...] = ("train",)
    optional_channels: tuple[str, ...] = ("test",)
    machines: tuple[Literal["cpu", "gpu"], ...] = ("cpu", "gpu")
    several_machines: bool = True
    tag: str = "1"
    dimension: bool = False
    """Whether it wants the number of features as `feature_dim`."""

    def image(self, region: str) -> str:
        """The address of its image in a region. Raises `NoImageError`."""
        return image_address(self.group, self.name, self.tag, region)

    def refuse_machine(self, instance_type: str, count: int) -> str | None:
        """Why these machines cannot train it, or None."""
        kind = "gpu" if instance_type.startswith(("ml.p", "ml.g")) else "cpu"
        if kind not in self.machines:
            return f"{self.name} trains on {self.machines[0].upper()} machines only"
        if count > 1 and not self.several_machines:
            return f"{self.name} trains on one machine"
        return None

    def content_type(self, file_type: str) -> str:
        """How a CSV channel says that it has a label in front, or none."""
        if file_type != "text/csv" or self.name == "sagemaker-xgboost":
            return file_type
        return "text/csv;label_size=1" if self.shape == "supervised" else "text/csv;label_size=0"


BUILT_IN = {
    one.name: one
    for one in (
        BuiltIn(
            "linear-learner",
            "supervised",
            "tables",
            ("text/csv", _RECORDS),
            optional_channels=("validation", "test"),
            dimension=True,
        ),
        BuiltIn(
            "sagemaker-xgboost",
            "supervised",
            "sagemaker-xgboost",
            ("text/csv", "application/x-parquet", "text/libsvm", _RECORDS),
            optional_channels=("validation",),
            tag="1.7-1",
        ),
        BuiltIn("knn", "supervised", "tables", ("text/csv", _RECORDS), dimension=True),
        BuiltIn("factorization-machines", "supervised", "tables", (_RECORDS,), dimension=True),
        BuiltIn("kmeans", "unsupervised", "tables", ("text/csv", _RECORDS), dimension=True),
        BuiltIn("pca", "unsupervised", "tables", ("text/csv", _RECORDS), dimension=True),
        BuiltIn(
            "randomcutforest",
            "unsupervised",
            "tables",
            ("text/csv", _RECORDS),
            machines=("cpu",),
            dimension=True,
        ),
        BuiltIn("ipinsights", "pairs", "tables", ("text/csv",), optional_channels=("validation",)),
        BuiltIn(
            "object2vec",
            "pairs",
            "tables",
            (_LINES,),
            optional_channels=("validation", "test", "auxiliary"),
            several_machines=False,
        ),
        BuiltIn(
            "forecasting-deepar",
            "forecast",
            "forecasting-deepar",
            (_LINES, "application/x-parquet"),
        ),
        BuiltIn(
            "lda",
            "text",
            "lda",
            ("text/csv", _RECORDS),
            machines=("cpu",),
            several_machines=False,
            dimension=True,
        ),
        BuiltIn(
            "ntm",
            "text",
            "tables",
            ("text/csv", _RECORDS),
            optional_channels=("validation", "test", "auxiliary"),
            dimension=True,
        ),
        BuiltIn(
            "blazingtext",
            "text",
            "media",
            ("text/plain",),
            optional_channels=("validation",),
            several_machines=False,
        ),
        BuiltIn(
            "seq2seq",
            "text",
            "media",
            (_RECORDS,),
            channels=("train", "validation", "vocab"),
            optional_channels=(),
            machines=("gpu",),
            several_machines=False,
        ),
        BuiltIn(
            "image-classification",
            "image",
            "media",
            ("application/x-image", "application/x-recordio"),
            channels=("train", "validation"),
            optional_channels=("train_lst", "validation_lst", "model"),
            machines=("gpu",),
        ),
        BuiltIn(
            "object-detection",
            "image",
            "media",
            ("application/x-image", "application/x-recordio"),
            channels=("train", "validation"),
            optional_channels=("train_annotation", "validation_annotation", "model"),
            machines=("gpu",),
        ),
        BuiltIn(
            "semantic-segmentation",
            "image",
            "media",
            ("application/x-image",),
            channels=("train", "validation", "train_annotation", "validation_annotation"),
            optional_channels=("label_map", "model"),
            machines=("gpu",),
            several_machines=False,
        ),
    )
}
"""By name. Names are those of AWS's images, so that none means two things."""
