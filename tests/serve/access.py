"""Who may do what: every route of the service, and what each caller gets there.

`yes` is any answer but a refusal; a number is the status of the refusal. The things in question (`{id}`) are the member's;
`other` is another member. A route that is not listed here fails its test: whoever adds one says whom it is for.
303 is the way to the sign-in page. Under /v1 callers show keys (a labeller has none); elsewhere they are signed-in browsers.
"""

TABLE = """
method  path                              nobody  other  labeller  member  owner

GET     /static/{name}                    yes     yes    yes       yes     yes
GET     /                                 303     yes    yes       yes     yes
POST    /preferences                      yes     yes    yes       yes     yes
GET     /sign-in                          yes     yes    yes       yes     yes
POST    /sign-in                          yes     yes    yes       yes     yes
POST    /sign-out                         401     yes    yes       yes     yes
GET     /account                          303     yes    yes       yes     yes
POST    /account/password                 401     yes    yes       yes     yes
POST    /account/consent                  401     yes    yes       yes     yes
POST    /account/devices/{id}             401     404    404       yes     404
POST    /account/forget                   401     yes    yes       yes     yes

GET     /chat                             303     yes    403       yes     yes
GET     /chat/{id}                        303     404    403       yes     404
GET     /lens                             303     yes    403       yes     yes
GET     /shared/{token}                   yes     yes    yes       yes     yes
POST    /web/chat                         401     yes    403       yes     yes
GET     /web/chat/list                    401     yes    403       yes     yes
PATCH   /web/chat/{id}                    401     404    403       yes     404
DELETE  /web/chat/{id}                    401     404    403       yes     404
GET     /web/chat/{id}/older              401     404    403       yes     404
POST    /web/chat/{id}/show               401     404    403       yes     404
POST    /web/chat/{id}/share              401     404    403       yes     404
DELETE  /web/chat/{id}/share              401     404    403       yes     404
GET     /web/chat/{id}/export             401     404    403       yes     404
POST    /web/chat/{id}/turns              401     404    403       yes     404
POST    /web/messages/{id}/again          401     404    403       yes     404
POST    /web/messages/{id}/instead        401     404    403       yes     404
GET     /web/messages/{id}/events         401     404    403       yes     404
POST    /web/messages/{id}/stop           401     404    403       yes     404
GET     /web/messages/{id}/lens           401     404    403       yes     404
PUT     /web/messages/{id}/thumb          401     404    403       yes     404
PUT     /web/messages/{id}/verdict        401     404    403       yes     404
PUT     /web/messages/{id}/correction     401     404    403       yes     404
POST    /web/lens                         401     yes    403       yes     yes

GET     /runs                             303     yes    403       yes     yes
GET     /runs/{run}                       303     404    403       404     404
GET     /runs/{run}/report                303     404    403       404     404
GET     /runs/{run}/{stage}               303     404    403       404     404
GET     /web/runs/{run}/{stage}           401     404    403       404     404
GET     /compare-runs                     303     yes    403       yes     yes
POST    /runs/{run}/promote               401     403    403       403     404
POST    /roll-back                        401     403    403       403     yes
POST    /trainings                        401     403    403       403     yes
GET     /trainings/{id}                   303     403    403       403     404
GET     /web/trainings/{id}               401     403    403       403     404
POST    /trainings/{id}/stop              401     403    403       403     404
POST    /trainings/{id}/go-on             401     403    403       403     404

GET     /owner                            303     403    403       403     yes
GET     /owner/people                     303     403    403       403     yes
POST    /owner/people                     401     403    403       403     yes
POST    /owner/people/{id}                401     403    403       403     yes
POST    /owner/people/{id}/link           401     403    403       403     yes
POST    /owner/people/{id}/forget         401     403    403       403     yes
GET     /owner/keys                       303     403    403       403     yes
POST    /owner/keys                       401     403    403       403     yes
POST    /owner/keys/{id}/revoke           401     403    403       403     yes
POST    /owner/keys/{id}/rotate           401     403    403       403     yes
GET     /owner/money                      303     403    403       403     yes
POST    /owner/prices                     401     403    403       403     yes
POST    /owner/prices/remove              401     403    403       403     yes
POST    /owner/currency                   401     403    403       403     yes
POST    /owner/budgets                    401     403    403       403     yes
POST    /owner/budgets/remove             401     403    403       403     yes
GET     /owner/models                     303     403    403       403     yes
GET     /owner/usage                      303     403    403       403     yes
GET     /owner/audit                      303     403    403       403     yes
GET     /owner/storage                    303     403    403       403     yes
GET     /inside                           303     yes    403       yes     yes
POST    /inside                           401     yes    403       yes     yes

GET     /rank                             303     yes    yes       yes     yes
POST    /rank/draw                        401     yes    yes       yes     yes
POST    /rank/{id}                        401     yes    yes       yes     yes
POST    /rank-back                        401     yes    yes       yes     yes
POST    /web/rank/ahead                   401     yes    yes       yes     yes
GET     /write                            303     yes    yes       yes     yes
POST    /write                            401     yes    yes       yes     yes
GET     /arena                            303     yes    yes       yes     yes
POST    /arena                            401     yes    yes       yes     yes
GET     /arena/{id}                       303     404    404       yes     404
POST    /arena/{id}/vote                  401     404    404       yes     404
GET     /feedback                         303     403    403       403     yes
GET     /web/feedback/now                 401     403    403       403     yes
POST    /feedback/train                   401     403    403       403     yes
POST    /feedback/{id}/promote            401     403    403       403     yes
POST    /feedback/{id}/back               401     403    403       403     yes

GET     /health                           yes     yes    yes       yes     yes
GET     /ready                            yes     yes    yes       yes     yes
GET     /docs                             yes     yes    yes       yes     yes
GET     /openapi.json                     yes     yes    yes       yes     yes
GET     /metrics                          401     403    403       403     yes

GET     /setup                            yes     yes    yes       yes     yes
POST    /setup                            yes     yes    yes       yes     yes
POST    /api/session                      yes     yes    yes       yes     yes
GET     /api/link                         yes     yes    yes       yes     yes
POST    /api/link                         yes     yes    yes       yes     yes
GET     /api/sign-in                      yes     yes    yes       yes     yes
GET     /api/oidc                         yes     yes    yes       yes     yes
GET     /api/oidc/callback                401     401    401       401     401

GET     /api/session                      401     yes    yes       yes     yes
DELETE  /api/session                      401     yes    yes       yes     yes
GET     /api/me/devices                   401     yes    yes       yes     yes
DELETE  /api/me/devices/{id}              401     404    404       yes     404
PUT     /api/me/password                  401     yes    yes       yes     yes
PUT     /api/me/consent                   401     yes    yes       yes     yes
GET     /api/me/data                      401     yes    yes       yes     yes
POST    /api/me/forget                    401     yes    yes       yes     yes

GET     /api/people                       401     403    403       403     yes
POST    /api/people                       401     403    403       403     yes
PATCH   /api/people/{id}                  401     403    403       403     yes
DELETE  /api/people/{id}                  401     403    403       403     yes
POST    /api/people/{id}/link             401     403    403       403     yes
GET     /api/audit                        401     403    403       403     yes

GET     /api/keys                         401     yes    403       yes     yes
POST    /api/keys                         401     yes    403       yes     yes
GET     /api/keys/{id}                    401     404    403       yes     yes
DELETE  /api/keys/{id}                    401     404    403       yes     yes
POST    /api/keys/{id}/rotate             401     404    403       yes     yes

GET     /api/prices                       401     yes    403       yes     yes
PUT     /api/prices                       401     403    403       403     yes
DELETE  /api/prices                       401     403    403       403     yes
PUT     /api/currency                     401     403    403       403     yes
GET     /api/budgets                      401     yes    403       yes     yes
PUT     /api/budgets                      401     403    403       403     yes
DELETE  /api/budgets                      401     403    403       403     yes

GET     /api/usage/{kind}                 401     yes    403       yes     yes
GET     /api/costs                        401     yes    403       yes     yes
GET     /api/usage.csv                    401     yes    403       yes     yes
GET     /v1/organization/usage/{kind}     401     yes    401       yes     yes
GET     /v1/organization/costs            401     yes    401       yes     yes
GET     /v1/organization/usage.csv        401     yes    401       yes     yes

GET     /v1/models                        401     yes    401       yes     yes
GET     /v1/models/{id:path}              401     yes    401       yes     yes
POST    /v1/chat/completions              401     yes    401       yes     yes
GET     /v1/chat/completions/{id}         401     404    401       yes     404
DELETE  /v1/chat/completions/{id}         401     404    401       yes     404
POST    /v1/completions                   401     yes    401       yes     yes
POST    /v1/embeddings                    401     yes    401       yes     yes
POST    /v1/moderations                   401     yes    401       yes     yes
POST    /v1/responses                     401     yes    401       yes     yes
POST    /v1/responses/input_tokens        401     yes    401       yes     yes
GET     /v1/responses/{id}                401     404    401       yes     404
DELETE  /v1/responses/{id}                401     404    401       yes     404
POST    /v1/responses/{id}/cancel         401     404    401       yes     404
GET     /v1/responses/{id}/input_items    401     404    401       yes     404
POST    /tokenize                         401     yes    403       yes     yes
POST    /detokenize                       401     yes    403       yes     yes
GET     /tokenizer_info                   401     yes    403       yes     yes
"""

CALLERS = ("nobody", "other", "labeller", "member", "owner")


def rows() -> dict[tuple[str, str], dict[str, str]]:
    """The table: (method, path) to what each caller gets."""
    found = {}
    for line in TABLE.strip().splitlines()[1:]:
        if line.strip():
            method, path, *answers = line.split()
            found[method, path] = dict(zip(CALLERS, answers, strict=True))
    return found
