"""The main job on an embedded default: a shipped model follows a simulated market, tick by tick."""
