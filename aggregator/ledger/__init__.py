"""The ledger, the aggregator's database in SQLite, from which every kept round can be computed again.

`layout` has the tables, `reading` the queries, `writing` the changes, and `views` what people see of it.

| table    | what it holds                                                                         |
|----------|---------------------------------------------------------------------------------------|
| life     | one row: the ledger's id, the generation, and what is learnt in it (to detect changes) |
| beginnings | what each generation began with that was not surveyed                              |
| rounds   | one row a round: its attempts and cohorts, how long it has lasted, how it closed      |
| answers  | one row a device and round: the verdict on its update, n_k, and its metrics           |
| frames   | the bytes of updates, as they came: a spool at first, then the input of the mean      |
| contents | tasks and models by digest                                                            |
| states   | the state of the server optimizer after a round                                       |
| slots    | which content the broker holds in which retained slot                                 |
| devices  | each device's last status, and how often it was refused                               |
"""
