"""What the tests of production share."""

from mdlc_assets_tests.deploy.database import databases, postgres

__all__ = ["databases", "postgres"]
