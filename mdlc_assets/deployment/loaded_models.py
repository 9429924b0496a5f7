"""Which models a multi-model container has loaded: on demand, and when it has no room the longest unused one goes."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections import OrderedDict
from pathlib import Path

import httpx

from mdlc_assets.deployment.container_process import ContainerProcess
from mdlc_assets.resources.sagemaker.archives import ArchiveError, unpack

_NO_ROOM = 507


class TargetError(RuntimeError):
    """A model that cannot be asked. `status` is what the caller gets."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class LoadedModels:
    """Models by the names of their archives below `folder`, spoken of to the container by marks of their own."""

    def __init__(self, client: httpx.AsyncClient, process: ContainerProcess, folder: Path) -> None:
        self.client, self.process, self.folder = client, process, folder
        self.loaded: OrderedDict[str, str] = OrderedDict()
        self._lock = asyncio.Lock()

    async def path_of(self, target: str) -> str:
        """Where the container is asked for a model, which is loaded by then. Raises `TargetError`."""
        archive = self._archive(target)
        async with self._lock:
            if target not in self.loaded:
                await self._load(target, archive)
            self.loaded.move_to_end(target)
        return f"/models/{self.loaded[target]}/invoke"

    def forget(self) -> None:
        """A container that was started anew has loaded nothing."""
        for target in list(self.loaded):
            self._drop(target)

    def _archive(self, target: str) -> Path:
        if not target:
            raise TargetError("a multi-model endpoint must be told which model: give TargetModel", 400)
        archive = self.folder / target
        if ".." in Path(target).parts or target.startswith("/") or not archive.is_file():
            raise TargetError(f"there is no model {target} behind this endpoint", 404)
        return archive

    async def _load(self, target: str, archive: Path) -> None:
        mark = hashlib.sha256(target.encode()).hexdigest()[:32]
        folder = self.process.root / "models" / mark / "model"
        try:
            await asyncio.to_thread(unpack, archive, folder)
        except ArchiveError as error:
            shutil.rmtree(folder.parent, ignore_errors=True)
            raise TargetError(f"model {target}: {error}", 424) from None
        while True:
            answer = await self.client.post(
                f"{self.process.address}/models", json={"model_name": mark, "url": str(folder)}
            )
            if answer.status_code != _NO_ROOM or not self.loaded:
                break
            await self._unload(next(iter(self.loaded)))
        if answer.status_code not in (200, 409):
            shutil.rmtree(folder.parent, ignore_errors=True)
            raise TargetError(f"model {target} cannot be loaded: {answer.text[:200]}", 424)
        self.loaded[target] = mark

    async def _unload(self, target: str) -> None:
        await self.client.delete(f"{self.process.address}/models/{self.loaded[target]}")
        self._drop(target)

    def _drop(self, target: str) -> None:
        mark = self.loaded.pop(target)
        shutil.rmtree(self.process.root / "models" / mark, ignore_errors=True)
