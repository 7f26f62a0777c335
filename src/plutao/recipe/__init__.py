"""The recipe: everything a run is made of, in one typed file (`plutao.toml`).

What the file promises: every key is known here, with its type, its default and one line of explanation; a wrong key or value
is refused with its line, what was probably meant, and what is allowed; the recipe as resolved is saved beside every result.
"""

from plutao.recipe.describe import allowed_values, first_line, model_inside
from plutao.recipe.reading import keys_of, load, parse, shipped
from plutao.recipe.settings import (
    STAGES,
    BaseSettings,
    DpoSettings,
    ModelSettings,
    Recipe,
    ReportSettings,
    RewardSettings,
    RlSettings,
    SftSettings,
    Stage,
    TokenizerSettings,
)
from plutao.recipe.training import OptimizerSettings, ScheduleSettings, TrainSettings
from plutao.recipe.writing import render, save

__all__ = [
    "STAGES",
    "BaseSettings",
    "DpoSettings",
    "ModelSettings",
    "OptimizerSettings",
    "Recipe",
    "ReportSettings",
    "RewardSettings",
    "RlSettings",
    "ScheduleSettings",
    "SftSettings",
    "Stage",
    "TokenizerSettings",
    "TrainSettings",
    "allowed_values",
    "first_line",
    "keys_of",
    "load",
    "model_inside",
    "parse",
    "render",
    "save",
    "shipped",
]
