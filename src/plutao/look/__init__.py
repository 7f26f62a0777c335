"""What there is to see inside a model: each thing as data, as a plotly figure, as a table and in a terminal.

    tokens       how a text is cut (the book, Figure 39)
    next_token   which tokens may come next (Figures 25 to 27, 47), and how surprised the model is by each token of a text
    softmax      from scores to the token that is drawn (Figures 55 to 57)
    chain_rule   how probable a whole text is (formula 2.9)
    one_step     one step of training (Figures 51 to 53 and 100 to 102)

A module's first function looks and returns plain numbers; its `view` makes them visible. The book is M. Galvão, *Conversa
entre o Sol e Plutão*, v1.5 (2024).
"""
