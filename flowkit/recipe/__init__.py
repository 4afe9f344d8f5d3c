"""The recipe of a store: all settings that decide its bytes, in one part for each stream."""

from flowkit.recipe.audio import LogMelRecipe
from flowkit.recipe.features import FeatureRecipe
from flowkit.recipe.flow import FlowRecipe
from flowkit.recipe.frames import DEFAULT_QUALITY, Resize, RGBRecipe, Subsampling
from flowkit.recipe.recipe import FEATURE_NAME, FEATURES, StoreRecipe

__all__ = [
    "DEFAULT_QUALITY", "FEATURES", "FEATURE_NAME", "FeatureRecipe", "FlowRecipe", "LogMelRecipe",
    "RGBRecipe", "Resize", "StoreRecipe", "Subsampling",
]  # fmt: skip
