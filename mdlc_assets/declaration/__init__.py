"""What a team may declare: one pydantic model for each part of a lifecycle. No Dagster, no data frames."""

from mdlc_assets.declaration.errors import DeclarationError, Problem
from mdlc_assets.declaration.lifecycle import LifecycleDeclaration, read_declaration

__all__ = ["DeclarationError", "LifecycleDeclaration", "Problem", "read_declaration"]
