"""What holds for all tests."""

from hypothesis import settings

# A deadline would be an assertion about time, which a busy machine breaks.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")
