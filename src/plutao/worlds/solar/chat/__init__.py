"""The world as an assistant knows it: dialogues to learn from, questions, the rule that grades answers, simulated labellers."""

from plutao.worlds.solar.chat.dialogues import dialogues
from plutao.worlds.solar.chat.distractors import distractors
from plutao.worlds.solar.chat.grading import grade
from plutao.worlds.solar.chat.labellers import LABELLERS
from plutao.worlds.solar.chat.questions import questions

__all__ = ["LABELLERS", "dialogues", "distractors", "grade", "questions"]
