"""A spec is a test suite: `pytest --offpipe-spec spec.json`, and fixtures for tests of one's own stages."""
