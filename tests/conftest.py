from hypothesis import settings

# The machine may be slow or busy; what a test asserts is never how long something took.
settings.register_profile("fedge", deadline=None)
settings.load_profile("fedge")
