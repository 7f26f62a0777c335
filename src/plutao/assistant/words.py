"""What the terminal says while people talk, rank and write, in English and in Brazilian Portuguese."""

from plutao.errors import UserError

ENGLISH = {
    # talking
    "you": "you",
    "about": "{name} · {parameters} parameters · temperature {temperature}",
    "warning": "It may be wrong: check what matters. /help lists the commands, Ctrl-C stops an answer, /quit leaves.",
    "base": "This model only continues texts: it is shown a few questions with answers, and then yours. /system has no effect on it.",
    "cut": "(cut after {count} tokens: /help says how to allow more)",
    "context_full": "(the context is full)",
    "too_many_calls": "(stopped: it called tools again and again)",
    "stopped": "(stopped)",
    "dropped": "(the first {count} messages did not fit into the context and were not read)",
    "empty": "(an empty answer)",
    "not_run": "not run",
    "unknown": "There is no command {name}: /help lists them.",
    "system_is": "System prompt: {text}",
    "no_system": "There is no system prompt: /system TEXT sets one, /system - takes it away.",
    "temperature_is": "Temperature: {value}",
    "tokens_are": "Tokens of an answer at most: {value}",
    "not_a_number": "{text!r} is not a number.",
    "rated": "Kept in {path}: {rating}.",
    "needs_project": "Judgements are kept in a project's data/feedback: start chat with the project's folder.",
    "saved": "Saved in {path}.",
    "fresh": "A new conversation.",
    "words": "The words of the last answer, and how probable each was; /why WORD or /why NUMBER shows what else might "
    "have come.",
    "help": """/system TEXT          how it should behave; - takes it away; alone: show it
/temperature NUMBER   below 1 surer, above 1 bolder, 0 always the most probable
/tokens NUMBER        how long an answer may be
/model NAME           base, sft, rl, dpo, a RUN:STAGE or a folder; the conversation stays
/regenerate           another answer to the last question
/rate good|bad        judge the last answer; after /regenerate also better, worse or same
/why [WORD]           what else might have come at a word of the last answer
/new                  a new conversation
/save FILE            keep the conversation: .md to read, .jsonl to train on
/quit                 leave""",
    # ranking
    "prompt": "Prompt",
    "answers_of": "The order, best first, as 2 1=3 4 (= is a tie). s skip · f flag · c write a better one · q leave · ? help",
    "rank_help": """2 1=3 4     answer 2 is best, 1 and 3 are equally good, 4 is worst; every answer is named once
s           skip this prompt: you can't tell
f WHY       flag it: the prompt or an answer should not be used (the reason is yours to give)
c           write a better answer; it is kept as a demonstration, and then you rank
q           leave; all you gave is kept, and the next time goes on from here""",
    "order_missing": "Name every answer once; missing: {missing}.",
    "order_twice": "Answer {number} is named twice.",
    "order_unknown": "There are answers 1 to {count}, not {text}.",
    "order_unread": "Write an order such as 2 1=3 4; ? helps.",
    "all_equal": "Kept. All equal: nothing to learn which is better.",
    "kept": "Kept.",
    "skipped": "Skipped.",
    "flagged": "Flagged.",
    "your_answer": "Your answer; an empty line ends it:",
    "no_answer": "Nothing written, nothing kept.",
    "demonstrated": "Kept as a demonstration. Now the order:",
    "no_prompts": "No prompts are left.",
    "type_prompt": "A prompt; an empty line leaves:",
    "alike": "(all answers are the same text or empty: nothing to rank)",
    "summary": "Prompts ranked by {name} so far: {count}, in {path}.",
    "agree": "{first} and {second}: Kendall's tau {tau} (prompts: {prompts}); {share} of {pairs} pairs ordered alike.",
    "agree_self": "{first} with their own earlier order: tau {tau} (prompts: {prompts}); {share} of {pairs} pairs ordered alike.",
    "no_agreement": "No two labellers have ranked the same answers yet: let another person do so with --labeller NAME.",
    "writing": "You write what the assistant should have answered. Short, true, in the question's language.",
    "written": "Kept in {path} ({count} so far).",
    "ideal": "The ideal answer; an empty line ends it (s skips, q leaves):",
}

PORTUGUESE = {
    "you": "você",
    "about": "{name} · {parameters} parâmetros · temperatura {temperature}",
    "warning": "Ele pode errar: confira o que importa. /help mostra os comandos, Ctrl-C interrompe uma resposta, /quit sai.",
    "base": "Este modelo só continua textos: ele vê algumas perguntas com respostas e depois a sua. /system não tem efeito nele.",
    "cut": "(cortada depois de {count} tokens: /help diz como permitir mais)",
    "context_full": "(o contexto está cheio)",
    "too_many_calls": "(parado: chamava ferramentas sem fim)",
    "stopped": "(parado)",
    "dropped": "(as primeiras {count} mensagens não couberam no contexto e não foram lidas)",
    "empty": "(uma resposta vazia)",
    "not_run": "não executada",
    "unknown": "Não há o comando {name}: /help mostra os que há.",
    "system_is": "Prompt de sistema: {text}",
    "no_system": "Não há prompt de sistema: /system TEXTO põe um, /system - o tira.",
    "temperature_is": "Temperatura: {value}",
    "tokens_are": "Tokens de uma resposta, no máximo: {value}",
    "not_a_number": "{text!r} não é um número.",
    "rated": "Guardado em {path}: {rating}.",
    "needs_project": "Avaliações ficam em data/feedback de um projeto: comece o chat com a pasta do projeto.",
    "saved": "Salvo em {path}.",
    "fresh": "Uma nova conversa.",
    "words": "As palavras da última resposta e a probabilidade de cada uma; /why PALAVRA ou /why NÚMERO mostra o que mais "
    "poderia ter vindo.",
    "help": """/system TEXTO         como ele deve se comportar; - tira; sozinho: mostra
/temperature NÚMERO   abaixo de 1 mais seguro, acima de 1 mais ousado, 0 sempre o mais provável
/tokens NÚMERO        o tamanho máximo de uma resposta
/model NOME           base, sft, rl, dpo, RUN:STAGE ou uma pasta; a conversa fica
/regenerate           outra resposta à última pergunta
/rate bom|ruim        avalia a última resposta; depois de /regenerate também melhor, pior ou igual
/why [PALAVRA]        o que mais poderia ter vindo numa palavra da última resposta
/new                  uma nova conversa
/save ARQUIVO         guarda a conversa: .md para ler, .jsonl para treinar
/quit                 sai""",
    "prompt": "Prompt",
    "answers_of": "A ordem, a melhor primeiro, como 2 1=3 4 (= é empate). s pula · f denuncia · c escreve uma melhor · q sai · ? ajuda",
    "rank_help": """2 1=3 4     a resposta 2 é a melhor, 1 e 3 são igualmente boas, 4 é a pior; cada uma aparece uma vez
s           pular este prompt: você não sabe dizer
f MOTIVO    denunciar: o prompt ou uma resposta não deve ser usado (o motivo é você quem dá)
c           escrever uma resposta melhor; ela fica como demonstração, e depois você ordena
q           sair; tudo o que você deu está guardado, e da próxima vez continua daqui""",
    "order_missing": "Cite cada resposta uma vez; faltam: {missing}.",
    "order_twice": "A resposta {number} aparece duas vezes.",
    "order_unknown": "Há respostas de 1 a {count}, não {text}.",
    "order_unread": "Escreva uma ordem como 2 1=3 4; ? ajuda.",
    "all_equal": "Guardado. Todas iguais: nada a aprender sobre qual é melhor.",
    "kept": "Guardado.",
    "skipped": "Pulado.",
    "flagged": "Denunciado.",
    "your_answer": "Sua resposta; uma linha vazia termina:",
    "no_answer": "Nada escrito, nada guardado.",
    "demonstrated": "Guardado como demonstração. Agora a ordem:",
    "no_prompts": "Não há mais prompts.",
    "type_prompt": "Um prompt; uma linha vazia sai:",
    "alike": "(todas as respostas são o mesmo texto ou vazias: nada a ordenar)",
    "summary": "Prompts ordenados por {name} até agora: {count}, em {path}.",
    "agree": "{first} e {second}: tau de Kendall {tau} (prompts: {prompts}); {share} de {pairs} pares na mesma ordem.",
    "agree_self": "{first} com a própria ordem anterior: tau {tau} (prompts: {prompts}); {share} de {pairs} pares na mesma ordem.",
    "no_agreement": "Ainda não há duas pessoas que ordenaram as mesmas respostas: peça a outra pessoa, com --labeller NOME.",
    "writing": "Você escreve o que o assistente deveria ter respondido. Curto, verdadeiro, na língua da pergunta.",
    "written": "Guardado em {path} ({count} até agora).",
    "ideal": "A resposta ideal; uma linha vazia termina (s pula, q sai):",
}

LANGUAGES = {"en": ENGLISH, "pt": PORTUGUESE}


def phrases(language: str) -> dict[str, str]:
    """The dictionary of a language; raises UserError for one that is not spoken here."""
    if language not in LANGUAGES:
        raise UserError(f"The terminal speaks {' and '.join(LANGUAGES)}, not {language!r}: choose one of them.")
    return LANGUAGES[language]
