"""The ledger, the aggregator's database in SQLite, from which every kept round can be computed again.

`layout` has the tables, `reading` the queries, `writing` the changes, and `views` what people see of it.

| table    | what it holds                                                                         |
|----------|---------------------------------------------------------------------------------------|
| life     | one row: the ledger's id, the generation, and what is learnt in it (to see a change)  |
| beginnings | what each generation began with that was not surveyed                              |
| rounds   | one row a round: its attempts and cohorts, how long it has lasted, how it closed      |
| answers  | one row a device and round: the verdict on its update, n_k, and its metrics           |
| frames   | the bytes of updates, as they came: first a spool, then what the mean is computed of  |
| contents | tasks and models by digest                                                            |
| states   | what the server optimizer remembers after a round                                     |
| slots    | which content lies in which retained slot at the broker                               |
| devices  | what each device last said of itself, and how often it was refused                    |
"""
