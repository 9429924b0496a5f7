"""Model package groups and packages on this machine: versions, their approval, and why."""

from __future__ import annotations

from mdlc_assets.resources.sagemaker.local_state import Document, LocalState, now, page, refusal

GROUP, PACKAGE = "model-package-group", "model-package"
_CHANGEABLE = (
    "ModelApprovalStatus",
    "ApprovalDescription",
    "CustomerMetadataProperties",
    "InferenceSpecification",
    "SourceUri",
    "ModelCard",
    "ModelLifeCycle",
)


class LocalModelPackages:
    """Create, describe, list, update, delete."""

    service = "sagemaker"

    def __init__(self, state: LocalState) -> None:
        self.state = state

    def create_model_package_group(self, request: Document) -> Document:
        """A group, to which versions are added."""
        name = request["ModelPackageGroupName"]
        arn = self.state.arn(GROUP, name)
        document = {
            **request,
            "ModelPackageGroupArn": arn,
            "CreationTime": now(),
            "CreatedBy": {},
            "ModelPackageGroupStatus": "Completed",
            "last": 0,
        }
        self.state.add(
            GROUP, name, document, refusal("ValidationException", f"Model Package Group already exists: {arn}")
        )
        return {"ModelPackageGroupArn": arn}

    def describe_model_package_group(self, request: Document) -> Document:
        """The group as it was made."""
        return self._group(request["ModelPackageGroupName"])

    def list_model_package_groups(self, request: Document) -> Document:
        """A page of groups."""
        found, token = page(self.state.documents(GROUP), request, "ModelPackageGroupName")
        return {"ModelPackageGroupSummaryList": found, "NextToken": token}

    def delete_model_package_group(self, request: Document) -> Document:
        """Forget an empty group."""
        name = self._group(request["ModelPackageGroupName"])["ModelPackageGroupName"]
        if any(item.get("ModelPackageGroupName") == name for item in self.state.documents(PACKAGE)):
            raise refusal("ConflictException", f"Model Package Group {name} still holds model packages.")
        self.state.delete(GROUP, name)
        return {}

    def create_model_package(self, request: Document) -> Document:
        """The next version of a group, or a package by itself."""
        token = request.get("ClientToken")
        if token and (before := next((i for i in self.state.documents(PACKAGE) if i.get("token") == token), None)):
            return {"ModelPackageArn": before["ModelPackageArn"]}
        document = {**request, "CreationTime": now(), "ModelPackageStatus": "Completed", "token": token}
        details = {"Name": "status", "Status": "Completed"}
        document["ModelPackageStatusDetails"] = {"ValidationStatuses": [details], "ImageScanStatuses": []}
        group, name = request.get("ModelPackageGroupName"), request.get("ModelPackageName")
        if bool(group) == bool(name):
            raise refusal("ValidationException", "Exactly one of ModelPackageGroupName and ModelPackageName is needed.")
        if group:
            group = group.rpartition("/")[2]
            self._group(group)
            version = 0

            def count(found: Document) -> None:
                nonlocal version
                version = found["last"] = found["last"] + 1

            self.state.change(GROUP, group, count)
            document |= {"ModelPackageGroupName": group, "ModelPackageVersion": version, "ModelPackageName": group}
            document.setdefault("ModelApprovalStatus", "PendingManualApproval")
            key, arn = f"{group}__{version}", self.state.arn(PACKAGE, f"{group}/{version}")
        else:
            key, arn = str(name), self.state.arn(PACKAGE, str(name))
        document["ModelPackageArn"] = arn
        self.state.add(PACKAGE, key, document, refusal("ConflictException", f"Model Package already exists: {arn}"))
        return {"ModelPackageArn": arn}

    def describe_model_package(self, request: Document) -> Document:
        """The package as it is now."""
        return self._package(request["ModelPackageName"])

    def list_model_packages(self, request: Document) -> Document:
        """A page of packages: of a group, the newest first."""
        group = request.get("ModelPackageGroupName", "").rpartition("/")[2]
        items = [
            item
            for item in self.state.documents(PACKAGE)
            if (item.get("ModelPackageGroupName") or "") == group or not group
        ]
        found, token = page(items, request, "ModelPackageName", "ModelPackage")
        return {"ModelPackageSummaryList": found, "NextToken": token}

    def update_model_package(self, request: Document) -> Document:
        """Approve or reject, and say why."""
        arn = request["ModelPackageArn"]
        self._package(arn)
        changes = {name: request[name] for name in _CHANGEABLE if name in request}

        def change(document: Document) -> None:
            document |= {**changes, "LastModifiedTime": now()}

        self.state.change(PACKAGE, _key(arn), change)
        return {"ModelPackageArn": arn}

    def delete_model_package(self, request: Document) -> Document:
        """Forget a version; its number is not given again."""
        self._package(request["ModelPackageName"])
        self.state.delete(PACKAGE, _key(request["ModelPackageName"]))
        return {}

    def _group(self, name: str) -> Document:
        name = name.rpartition("/")[2]
        found = self.state.read(GROUP, name)
        if found is None:
            raise refusal("ValidationException", f"Model Package Group {self.state.arn(GROUP, name)} does not exist.")
        return found

    def _package(self, name: str) -> Document:
        found = self.state.read(PACKAGE, _key(name))
        if found is None:
            raise refusal("ValidationException", f"ModelPackage {name} does not exist.")
        return found


def _key(name: str) -> str:
    """The document's name for an ARN (`.../group/version`) or a bare name."""
    return name.rpartition(":")[2].removeprefix(f"{PACKAGE}/").replace("/", "__")


HANDLERS = (LocalModelPackages,)
