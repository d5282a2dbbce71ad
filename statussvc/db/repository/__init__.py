"""All SQL. A function takes a Connection inside a transaction, and the time where it needs it.

catalogue     datasets: create, read, list, describe
search        datasets by a text (searchable: the texts' index)
inspections   inspections: create, read
user_actions  cancel, retry, delete
refreshes     fetch a dataset's source again: begin, end early
handover      what a refresh has made becomes its dataset's
versions      pyramids that refreshes have replaced
ids           ids of new rows
outbox        wake-ups to publish
stages        begin a run, record its outcome
changes       what harvesters read of datasets that came, changed and went
turns         whose turn it is, in each stage
reusable      what a download can reuse
transitions   lock a row and move it to another state, end a run
garbage       what is in storage and no row refers to
lost_builds   builds whose files are missing
identity      which storage belongs to the database
epochs        fences off a service that lost the database
purge         remove old rows
"""
