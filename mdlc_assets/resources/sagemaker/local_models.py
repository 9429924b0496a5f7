"""Models and tags on this machine: what an artifact is served by, under a name."""

from __future__ import annotations

from mdlc_assets.resources.sagemaker.local_state import Document, LocalState, now, page, refusal

KIND = "model"
_TAGS = "tags"


class LocalModels:
    """Create, describe, list, delete; tags of anything."""

    service = "sagemaker"

    def __init__(self, state: LocalState) -> None:
        self.state = state

    def create_model(self, request: Document) -> Document:
        """Write a model down. Its artifact is looked for when something serves it, as on AWS."""
        name = request["ModelName"]
        if bool(request.get("PrimaryContainer")) == bool(request.get("Containers")):
            raise refusal("ValidationException", "Exactly one of PrimaryContainer and Containers must be given.")
        arn = self.state.arn(KIND, name)
        taken = refusal("ValidationException", f'Cannot create already existing model "{arn}".')
        self.state.add(KIND, name, {**request, "ModelArn": arn, "CreationTime": now()}, taken)
        return {"ModelArn": arn}

    def describe_model(self, request: Document) -> Document:
        """The model as it was created."""
        return self._found(request["ModelName"])

    def list_models(self, request: Document) -> Document:
        """A page of models, the newest first."""
        found, token = page(self.state.documents(KIND), request, "ModelName")
        return {"Models": found, "NextToken": token}

    def delete_model(self, request: Document) -> Document:
        """Forget a model; its artifact stays."""
        self._found(request["ModelName"])
        self.state.delete(KIND, request["ModelName"])
        return {}

    def add_tags(self, request: Document) -> Document:
        """Add tags to what an ARN names, or replace them."""
        return {"Tags": self._tags(request["ResourceArn"], {tag["Key"]: tag["Value"] for tag in request["Tags"]})}

    def delete_tags(self, request: Document) -> Document:
        """Take tags away."""
        self._tags(request["ResourceArn"], dict.fromkeys(request["TagKeys"]))
        return {}

    def list_tags(self, request: Document) -> Document:
        """All tags of what an ARN names."""
        return {"Tags": self._tags(request["ResourceArn"], {})}

    def _found(self, name: str) -> Document:
        document = self.state.read(KIND, name)
        if document is None:
            raise refusal("ValidationException", f'Could not find model "{self.state.arn(KIND, name)}".')
        return document

    def _tags(self, arn: str, changes: dict[str, str | None]) -> list[Document]:
        """The tags after `changes`; None takes one away. Those given when the thing was made count too."""
        kind, _, name = arn.rpartition(":")[2].partition("/")
        key = name.replace("/", "__")
        with self.state.locked(_TAGS):
            stored = self.state.read(_TAGS, f"{kind}__{key}")
            if stored is None:
                made = self.state.read(kind, key)
                if made is None:
                    raise refusal("ValidationException", f"{arn} does not exist")
                stored = {tag["Key"]: tag["Value"] for tag in made.get("Tags", [])}
            tags = {name: value for name, value in {**stored, **changes}.items() if value is not None}
            if changes:
                self.state.write(_TAGS, f"{kind}__{key}", tags)
        return [{"Key": name, "Value": value} for name, value in tags.items()]


def container_of(state: LocalState, model: Document) -> Document:
    """What serves a model: its container, with image and artifact also where they come from a package."""
    container = model.get("PrimaryContainer") or model["Containers"][0]
    if "ModelPackageName" not in container:
        return container
    name = container["ModelPackageName"].rpartition(":")[2].removeprefix("model-package/").replace("/", "__")
    package = state.read("model-package", name)
    if package is None:
        raise refusal("ValidationException", f"ModelPackage {container['ModelPackageName']} does not exist.")
    trained = package.get("SourceAlgorithmSpecification", {}).get("SourceAlgorithms") or [{}]
    inference = package.get("InferenceSpecification", {}).get("Containers") or [{}]
    return {
        **container,
        "Image": trained[0].get("AlgorithmName") or inference[0].get("Image", ""),
        "ModelDataUrl": trained[0].get("ModelDataUrl") or inference[0].get("ModelDataUrl", ""),
    }


HANDLERS = (LocalModels,)
