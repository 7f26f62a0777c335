"""Watching reinforcement learning: when to end it, and what happened, in plain words and two languages.

What is watched for is what people report of RL from learned rewards: leaving the region where the reward model can judge
(Gao et al. 2023, "Scaling laws for reward model overoptimization"), answers that grow longer because length is rewarded
(Singhal et al. 2023), and answers that repeat themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from plutao.stages.gains import Measured, best_of_at, gain

Language = Literal["en", "pt"]
Figures = dict[str, float]
WINDOW = 5
"""Rounds that are averaged at the beginning and at the end before they are compared."""
LONGER = 2.0
"""So many times the first rounds' length, while the reward rises, is taken for hacking …"""
LONGER_TOKENS = 10.0
"""… if it is also so many tokens more."""
DISTINCT_LEFT = 0.7
"""Less than this share of the first rounds' distinct pairs of tokens is taken for repetition."""
ENTROPY_LEFT = 0.3
"""Below this share of the entropy at the start, the diagnosis says that answers have become nearly certain."""
HELD = 0.25
"""The divergence may miss its target by this share and still count as held."""


@dataclass(frozen=True)
class Watch:
    """The automatic stops."""

    kl_stop: float | None
    language: Language = "en"

    def __call__(self, history: Sequence[Figures]) -> str | None:
        """Why training should end after these rounds; None where nothing is wrong."""
        now = history[-1]
        words = STOPS[self.language]
        if self.kl_stop is not None and now["kl"] > self.kl_stop:
            return words["kl"].format(kl=now["kl"], stop=self.kl_stop)
        if len(history) < 2 * WINDOW:
            return None
        first, last = average(history[:WINDOW]), average(history[-WINDOW:])
        grown = last["length"] > LONGER * first["length"] and last["length"] - first["length"] > LONGER_TOKENS
        if grown and last["reward"] > first["reward"]:
            return words["length"].format(first=first["length"], last=last["length"])
        if last["distinct"] < DISTINCT_LEFT * first["distinct"]:
            return words["repetition"].format(first=first["distinct"], last=last["distinct"])
        return None


def average(rounds: Sequence[Figures]) -> Figures:
    return {name: sum(figures[name] for figures in rounds) / len(rounds) for name in rounds[0]}


def diagnose(
    before: Measured,
    after: Measured,
    kl_target: float | None,
    stopped: str | None,
    language: Language = "en",
) -> str:
    """What happened to reward, divergence, length and entropy, and what to change, if anything."""
    words = DIAGNOSES[language]
    found = [
        stopped and words["stopped"].format(why=stopped),
        of_reward(before, after, words),
        of_divergence(after, kl_target, words),
        of_best_of_n(before, after, words),
        of_form(before, after, words),
    ]
    return " ".join(sentence for sentence in found if sentence)


def of_reward(before: Measured, after: Measured, words: dict[str, str]) -> str:
    change = gain(before, after)
    kind = "rose" if change["low"] > 0 else "fell" if change["high"] < 0 else "stayed"
    return words[kind].format(before=before.reward, after=after.reward, **change)


def of_divergence(after: Measured, target: float | None, words: dict[str, str]) -> str:
    if target is None:
        return words["divergence"].format(kl=after.kl)
    miss = after.kl / target - 1
    kind = "held" if abs(miss) <= HELD else "above" if miss > 0 else "below"
    return words[kind].format(kl=after.kl, target=target)


def of_best_of_n(before: Measured, after: Measured, words: dict[str, str]) -> str | None:
    if not before.best_of_n:
        return None
    equal = best_of_at(before.best_of_n, after.kl)
    if equal is None:
        most = before.best_of_n[-1]
        return words["beyond best"].format(n=most["n"], reward=most["reward"], kl=most["kl"])
    kind = "better than best" if after.reward > equal else "worse than best"
    return words[kind].format(reward=equal)


def of_form(before: Measured, after: Measured, words: dict[str, str]) -> str:
    """Length, entropy, repetition and ends, each where there is something to say."""
    told = [words["length"].format(before=before.length, after=after.length)]
    if after.length > LONGER * before.length:
        told.append(words["longer"])
    told.append(words["entropy"].format(before=before.entropy, after=after.entropy))
    if after.entropy < ENTROPY_LEFT * before.entropy:
        told.append(words["certain"])
    if after.distinct < DISTINCT_LEFT * before.distinct:
        told.append(words["repeats"].format(before=before.distinct, after=after.distinct))
    if after.ended < min(0.95, before.ended - 0.02):
        told.append(words["unended"].format(share=after.ended))
    return " ".join(told)


STOPS: dict[Language, dict[str, str]] = {
    "en": {
        "kl": "an answer diverges from the SFT model by {kl:.1f} nats, more than rl.kl_stop = {stop:g}. Raise rl.kl or "
        "lower the learning rate to go further safely.",
        "length": "answers grew from {first:.0f} to {last:.0f} tokens while the reward rose, which looks as if length "
        "were what is rewarded. Give the reward model rankings in which long answers lose, or raise rl.kl.",
        "repetition": "answers began to repeat themselves: distinct pairs of tokens fell from {first:.0%} to {last:.0%}. "
        "Raise rl.kl, or lower the learning rate.",
    },
    "pt": {
        "kl": "uma resposta se afasta do modelo SFT em {kl:.1f} nats, mais que rl.kl_stop = {stop:g}. Aumente rl.kl ou "
        "diminua a taxa de aprendizado para ir mais longe com segurança.",
        "length": "as respostas cresceram de {first:.0f} para {last:.0f} tokens enquanto a recompensa subia, como se o "
        "comprimento é que fosse recompensado. Dê ao modelo de recompensa comparações em que respostas longas perdem, "
        "ou aumente rl.kl.",
        "repetition": "as respostas começaram a se repetir: os pares distintos de tokens caíram de {first:.0%} para "
        "{last:.0%}. Aumente rl.kl ou diminua a taxa de aprendizado.",
    },
}

DIAGNOSES: dict[Language, dict[str, str]] = {
    "en": {
        "stopped": "Training ended early: {why}",
        "rose": "On prompts kept aside the reward rose from {before:.2f} to {after:.2f} ({value:+.2f}, 95% interval "
        "{low:+.2f} to {high:+.2f}).",
        "stayed": "On prompts kept aside the reward went from {before:.2f} to {after:.2f}, a difference that chance "
        "explains ({low:+.2f} to {high:+.2f}): train longer, or with a higher rl.optimizer.learning_rate.",
        "fell": "On prompts kept aside the reward fell from {before:.2f} to {after:.2f} ({low:+.2f} to {high:+.2f}): lower "
        "rl.optimizer.learning_rate, and see whether the reward ranks these prompts' answers rightly.",
        "divergence": "An answer diverges from the SFT model by {kl:.1f} nats; no target was set (rl.kl_target).",
        "held": "An answer diverges from the SFT model by {kl:.1f} nats: the target of {target:g} was held.",
        "above": "An answer diverges from the SFT model by {kl:.1f} nats, beyond the target of {target:g}: raise rl.kl or "
        "lower rl.optimizer.learning_rate.",
        "below": "An answer diverges from the SFT model by {kl:.1f} nats, less than the target of {target:g} allows: "
        "there is room to train longer or with a smaller rl.kl.",
        "better than best": "Choosing the best of several SFT answers would have reached {reward:.2f} at the same "
        "divergence: RL did better.",
        "worse than best": "Choosing the best of several SFT answers would have reached {reward:.2f} at the same "
        "divergence: RL left some of that on the table; larger rounds (rl.batch) or more steps bring it closer.",
        "beyond best": "Choosing the best of {n:.0f} SFT answers reaches {reward:.2f} at {kl:.1f} nats.",
        "length": "Answers have {after:.0f} tokens ({before:.0f} before).",
        "longer": "That is much longer: see whether the reward simply likes length.",
        "entropy": "The entropy of a token is {after:.2f} nats ({before:.2f} before).",
        "certain": "Answers have become nearly certain: raise rl.kl if variety matters.",
        "repeats": "Answers repeat themselves more: distinct pairs of tokens went from {before:.0%} to {after:.0%}.",
        "unended": "Only {share:.0%} of the answers come to an end: raise rl.end_penalty or rl.max_tokens.",
    },
    "pt": {
        "stopped": "O treino terminou antes: {why}",
        "rose": "Em perguntas deixadas de lado a recompensa subiu de {before:.2f} para {after:.2f} ({value:+.2f}, intervalo "
        "de 95% de {low:+.2f} a {high:+.2f}).",
        "stayed": "Em perguntas deixadas de lado a recompensa foi de {before:.2f} para {after:.2f}, diferença que o acaso "
        "explica ({low:+.2f} a {high:+.2f}): treine mais, ou com rl.optimizer.learning_rate maior.",
        "fell": "Em perguntas deixadas de lado a recompensa caiu de {before:.2f} para {after:.2f} ({low:+.2f} a {high:+.2f}): "
        "diminua rl.optimizer.learning_rate e veja se a recompensa ordena bem as respostas a essas perguntas.",
        "divergence": "Uma resposta se afasta do modelo SFT em {kl:.1f} nats; nenhum alvo foi dado (rl.kl_target).",
        "held": "Uma resposta se afasta do modelo SFT em {kl:.1f} nats: o alvo de {target:g} foi mantido.",
        "above": "Uma resposta se afasta do modelo SFT em {kl:.1f} nats, além do alvo de {target:g}: aumente rl.kl ou "
        "diminua rl.optimizer.learning_rate.",
        "below": "Uma resposta se afasta do modelo SFT em {kl:.1f} nats, menos do que o alvo de {target:g} permite: há "
        "espaço para treinar mais ou com rl.kl menor.",
        "better than best": "Escolher a melhor de várias respostas do SFT teria alcançado {reward:.2f} com o mesmo "
        "afastamento: o RL foi melhor.",
        "worse than best": "Escolher a melhor de várias respostas do SFT teria alcançado {reward:.2f} com o mesmo "
        "afastamento: o RL ficou aquém; rodadas maiores (rl.batch) ou mais passos aproximam.",
        "beyond best": "Escolher a melhor de {n:.0f} respostas do SFT alcança {reward:.2f} com {kl:.1f} nats.",
        "length": "As respostas têm {after:.0f} tokens (antes {before:.0f}).",
        "longer": "É bem mais: veja se a recompensa não gosta simplesmente do comprimento.",
        "entropy": "A entropia de um token é de {after:.2f} nats (antes {before:.2f}).",
        "certain": "As respostas ficaram quase certas: aumente rl.kl se a variedade importa.",
        "repeats": "As respostas se repetem mais: os pares distintos de tokens foram de {before:.0%} a {after:.0%}.",
        "unended": "Só {share:.0%} das respostas chegam ao fim: aumente rl.end_penalty ou rl.max_tokens.",
    },
}
